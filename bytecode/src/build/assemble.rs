//! Images that are put together without a container runtime. The same input makes the same bytes.

use std::{collections::BTreeSet, io::Write as _, path::Path};

use flate2::{Compression, GzBuilder};
use model::Digest;
use oci_spec::image::{
    ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder,
    Sha256Digest,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Arch, Bytecode, Entry, Error};

/// Nothing of the time of the build shows.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Some content, as a registry or a layout keeps it.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is.
    pub media_type: MediaType,
    /// Of the bytes.
    pub digest: Digest,
    /// The content.
    pub bytes: Vec<u8>,
}

/// An image in parts. Each one refers to those before it only.
#[derive(Clone, Debug)]
pub struct Image {
    /// Layers and configurations, each once.
    pub blobs: Vec<Part>,
    /// The manifests of an index; empty for an image of one platform.
    pub manifests: Vec<Part>,
    /// What the image's name stands for: an index, or the one manifest.
    pub root: Part,
}

impl Part {
    fn new(media_type: MediaType, bytes: Vec<u8>) -> Self {
        Self {
            media_type,
            digest: Digest::new(Sha256::digest(&bytes).into()),
            bytes,
        }
    }

    /// A document with sorted keys.
    fn json(media_type: MediaType, document: &impl Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_value(document).map(|value| value.to_string().into_bytes());
        Ok(Self::new(
            media_type,
            bytes.map_err(oci_spec::OciSpecError::from)?,
        ))
    }

    pub(crate) fn descriptor(&self) -> Result<Descriptor, Error> {
        Ok(describe(self)?.build()?)
    }
}

fn describe(part: &Part) -> Result<DescriptorBuilder, Error> {
    let digest: Sha256Digest = part.digest.hex().parse()?;
    Ok(DescriptorBuilder::default()
        .media_type(part.media_type.clone())
        .digest(digest)
        .size(part.bytes.len() as u64))
}

impl Image {
    /// One layer with one object for each platform, labelled as a Containerfile labels it.
    pub fn assemble(bytecode: &Bytecode) -> Result<Self, Error> {
        let mut blobs = Vec::new();
        let mut manifests = Vec::new();
        let mut descriptors = Vec::new();
        for entry in &bytecode.entries {
            let arch = entry.platform()?;
            let (layer, config) = layer_and_config(bytecode, entry, arch)?;
            let manifest = ImageManifestBuilder::default()
                .schema_version(2u32)
                .media_type(MediaType::ImageManifest)
                .config(config.descriptor()?)
                .layers(vec![layer.descriptor()?])
                .build()?;
            let manifest = Part::json(MediaType::ImageManifest, &manifest)?;
            let platform = PlatformBuilder::default()
                .architecture(arch.name())
                .os(Os::Linux)
                .build()?;
            descriptors.push(describe(&manifest)?.platform(platform).build()?);
            blobs.extend([layer, config]);
            manifests.push(manifest);
        }
        let mut seen = BTreeSet::new();
        blobs.retain(|blob| seen.insert(blob.digest));
        let root = if manifests.len() == 1 {
            manifests.remove(0)
        } else {
            let index = ImageIndexBuilder::default()
                .schema_version(2u32)
                .media_type(MediaType::ImageIndex)
                .manifests(descriptors)
                .build()?;
            Part::json(MediaType::ImageIndex, &index)?
        };
        Ok(Self {
            blobs,
            manifests,
            root,
        })
    }
}

fn layer_and_config(bytecode: &Bytecode, entry: &Entry, arch: Arch) -> Result<(Part, Part), Error> {
    let tar = tar(&entry.path, &entry.bytes).map_err(Error::Assemble)?;
    let diff_id = Digest::new(Sha256::digest(&tar).into());
    let layer = Part::new(
        MediaType::ImageLayerGzip,
        gzip(&tar).map_err(Error::Assemble)?,
    );
    let history = HistoryBuilder::default()
        .created(CREATED)
        .created_by("bpfman image build")
        .build()?;
    let config = ImageConfigurationBuilder::default()
        .created(CREATED)
        .architecture(arch.name())
        .os(Os::Linux)
        .config(
            ConfigBuilder::default()
                .labels(bytecode.labels.by_name())
                .build()?,
        )
        .rootfs(
            RootFsBuilder::default()
                .typ("layers")
                .diff_ids(vec![diff_id.to_string()])
                .build()?,
        )
        .history(vec![history])
        .build()?;
    Ok((layer, Part::json(MediaType::ImageConfig, &config)?))
}

/// An archive with the object at its root.
fn tar(path: &Path, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::with_capacity(bytes.len() + 2048));
    let name = path.file_name().unwrap_or(path.as_os_str());
    archive.append_data(&mut header, name, bytes)?;
    archive.into_inner()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // 255: made on an unknown system. The default differs between systems.
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
