//! Images as directories (OCI image layout, image-spec `image-layout.md`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, MediaType, OciLayout, OciLayoutBuilder,
};
use serde::Serialize;

use super::{Error, Image, Part, hold::Hold};

/// Annotation with the tag of an image in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Writes an image into a directory. One that has images already keeps them, but for the one of
/// that tag.
pub fn write(dir: &Path, tag: &str, image: &Image) -> Result<(), Error> {
    let mut index = open(dir)?;
    let mut entry = image.root.descriptor()?;
    entry.set_annotations(Some([(REF_NAME.to_owned(), tag.to_owned())].into()));
    let mut entries: Vec<Descriptor> = index.manifests().clone();
    entries.retain(|entry| {
        let annotations = entry.annotations().as_ref();
        annotations
            .and_then(|all| all.get(REF_NAME))
            .map(String::as_str)
            != Some(tag)
    });
    entries.push(entry);
    index.set_manifests(entries);

    let hold = Hold::new()?;
    let mut made = Made::default();
    let mut work = || {
        let blobs = dir.join("blobs/sha256");
        made.dirs(&blobs)?;
        let parts = image.blobs.iter().chain(&image.manifests);
        for Part { digest, bytes, .. } in parts.chain([&image.root]) {
            hold.check()?;
            made.file(&blobs, &digest.hex(), bytes)?;
        }
        let layout = OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()?;
        made.file(dir, "oci-layout", &json(&layout)?)?;
        // Last, because it is what makes the image part of the layout.
        put(dir, "index.json", &json(&index)?)
    };
    work()?;
    made.keep();
    Ok(())
}

/// What was not there before. It goes again when the image does not come to be.
#[derive(Default)]
struct Made {
    dirs: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Made {
    /// A directory with all those above it.
    fn dirs(&mut self, dir: &Path) -> Result<(), Error> {
        let missing = dir.ancestors().take_while(|dir| !dir.exists());
        let missing = missing.filter(|dir| !dir.as_os_str().is_empty());
        self.dirs = missing.map(Path::to_owned).collect();
        fs::create_dir_all(dir).map_err(|source| Error::Write {
            path: dir.to_owned(),
            source,
        })
    }

    fn file(&mut self, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = dir.join(name);
        if !path.exists() {
            self.files.push(path);
        }
        put(dir, name, bytes)
    }

    fn keep(mut self) {
        self.files.clear();
        self.dirs.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Whoever uses the directory as well keeps it: only empty ones go.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for dir in &self.dirs {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// The images that a directory has.
fn open(dir: &Path) -> Result<ImageIndex, Error> {
    let unreadable = |source| Error::Write {
        path: dir.to_owned(),
        source,
    };
    let empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(unreadable(error)),
    };
    if empty {
        return Ok(ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(Vec::new())
            .build()?);
    }
    let other = |_| Error::NotALayout {
        dir: dir.to_owned(),
    };
    OciLayout::from_file(dir.join("oci-layout")).map_err(other)?;
    ImageIndex::from_file(dir.join("index.json")).map_err(other)
}

/// With sorted keys.
fn json(document: &impl Serialize) -> Result<Vec<u8>, Error> {
    let value = serde_json::to_value(document).map_err(oci_spec::OciSpecError::from)?;
    Ok(value.to_string().into_bytes())
}

/// Writes a file so that it is there whole or not at all.
fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: dir.join(name),
        source,
    };
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    io::Write::write_all(&mut file, bytes).map_err(failed)?;
    fs::set_permissions(
        file.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .map_err(failed)?;
    file.persist(dir.join(name))
        .map_err(|error| failed(error.error))?;
    Ok(())
}
