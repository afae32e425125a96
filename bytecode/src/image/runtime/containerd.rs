//! containerd: images by name, and their content by digest. Nothing is unpacked, and no lease, no
//! snapshot and no container is made.

use std::{io::Write, path::PathBuf};

use model::Digest;
use prost::Message;

use super::{
    super::{
        ImageError, Limits,
        digest::Tee,
        keep::{Blob, Bytes, Found, Wanted},
        store::Temp,
    },
    Export, RuntimeError,
    grpc::Connection,
    names::Names,
    user::var,
};

/// Where it listens.
pub(super) fn socket(configured: Option<&PathBuf>) -> Result<(PathBuf, bool), RuntimeError> {
    if let Some(path) = configured {
        return Ok((path.clone(), true));
    }
    match var("CONTAINERD_ADDRESS") {
        Some(address) => super::address(&address).map(|path| (path, true)),
        None => Ok(("/run/containerd/containerd.sock".into(), false)),
    }
}

/// `containerd.services.images.v1.ListImagesRequest`
#[derive(Clone, PartialEq, Message)]
struct ListRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// `containerd.services.images.v1.ListImagesResponse`
#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    images: Vec<Image>,
}

/// `containerd.services.images.v1.Image`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "3")]
    target: Option<Descriptor>,
}

/// `containerd.types.Descriptor`
#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(string, tag = "1")]
    media_type: String,
    #[prost(string, tag = "2")]
    digest: String,
}

/// `containerd.services.content.v1.ReadContentRequest`
#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

/// `containerd.services.content.v1.ReadContentResponse`
#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(bytes = "bytes", tag = "2")]
    data: bytes::Bytes,
}

/// One namespace of a containerd.
pub(super) struct Namespace<'c> {
    pub(super) connection: &'c Connection,
    pub(super) name: &'c str,
}

impl Image {
    /// What the image is called by.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.target.as_ref()?.digest.parse().ok()
    }
}

impl Namespace<'_> {
    /// The image that a name means, and how well it fits.
    pub(super) fn find(&self, names: &Names) -> Result<Option<(usize, Image)>, RuntimeError> {
        let mut filters: Vec<String> = names
            .full
            .iter()
            .map(|name| format!("name==\"{name}\""))
            .collect();
        for name in &names.full {
            if let Some((_, digest)) = name.split_once('@') {
                filters.push(format!("target.digest==\"{digest}\""));
            }
        }
        if let Some(digits) = &names.id {
            filters.push(format!("name~=\"^sha256:{digits}\""));
            filters.push(format!("target.digest~=\"^sha256:{digits}\""));
        }
        let images = self.list(filters)?.into_iter().filter_map(|image| {
            let digest = image.target.as_ref()?.digest.clone();
            let ids = [digest.as_str(), image.name.as_str()];
            let rank = names.rank([&image.name], &[&digest], &ids)?;
            Some((rank, image))
        });
        Ok(images.min_by_key(|(rank, _)| *rank))
    }

    /// Images that pass one of the filters; without any, all.
    pub(super) fn list(&self, filters: Vec<String>) -> Result<Vec<Image>, RuntimeError> {
        let mut images = Vec::new();
        let request = ListRequest { filters };
        let called = self.call("images.v1.Images/List", &request, &mut |answer| {
            images.extend(answer_of::<ListResponse>(answer)?.images);
            Ok(())
        });
        match called {
            Ok(()) => Ok(images),
            Err(Export::Runtime(error)) => Err(error),
            Err(Export::Image(error)) => Err(RuntimeError::protocol(error.to_string())),
        }
    }

    /// The image for this host: manifest and configuration, checked.
    pub(super) fn describe(&self, digest: Digest, limits: Limits) -> Result<Found, Export> {
        let top = self.blob(digest, limits.manifest, "manifest")?;
        Found::begin(top, None, limits.layer, |wanted| {
            let (digest, what) = match wanted {
                Wanted::Manifest(digest) => (digest, "manifest"),
                Wanted::Config(digest, _) => (digest, "configuration"),
            };
            Ok((self.blob(digest, limits.manifest, what)?, None))
        })
    }

    /// The image for this host and its layer, both checked.
    pub(super) fn take(
        &self,
        digest: Digest,
        limits: Limits,
        mut file: Temp,
    ) -> Result<(Found, Bytes), Export> {
        let found = self.describe(digest, limits)?;
        let wanted = found.layer.digest;
        let limit = found.layer.size.unwrap_or_default();
        let mut tee = Tee::new(file.file());
        self.read(wanted, limit, "layer", &mut tee)?;
        let (got, size) = tee.finish();
        if got != wanted {
            let what = "layer";
            return Err(ImageError::DigestMismatch { what, wanted, got }.into());
        }
        let start = 0;
        Ok((found, Bytes { file, start, size }))
    }

    fn blob(&self, digest: Digest, limit: u64, what: &'static str) -> Result<Blob, Export> {
        let mut bytes = Vec::new();
        match self.read(digest, limit, what, &mut bytes) {
            Err(Export::Image(ImageError::SizeMismatch { .. })) => {
                Err(ImageError::DocumentTooLarge { what, limit }.into())
            }
            read => read.and_then(|()| Ok(Blob::checked(bytes, digest, what)?)),
        }
    }

    /// Copies content, at most `limit` bytes.
    fn read(
        &self,
        digest: Digest,
        limit: u64,
        what: &'static str,
        out: &mut dyn Write,
    ) -> Result<(), Export> {
        let digest = digest.to_string();
        let mut done = 0;
        let request = ReadRequest { digest };
        self.call("content.v1.Content/Read", &request, &mut |answer| {
            let data = answer_of::<ReadResponse>(answer)?.data;
            done += data.len() as u64;
            if done > limit {
                let (wanted, got) = (limit, done);
                return Err(ImageError::SizeMismatch { what, wanted, got }.into());
            }
            out.write_all(&data)
                .map_err(|source| ImageError::Write { what, source }.into())
        })
    }

    fn call(
        &self,
        method: &str,
        request: &impl Message,
        take: &mut dyn FnMut(bytes::Bytes) -> Result<(), Export>,
    ) -> Result<(), Export> {
        self.connection.call(self.name, method, request, take)
    }
}

fn answer_of<T: Message + Default>(bytes: bytes::Bytes) -> Result<T, RuntimeError> {
    T::decode(bytes).map_err(|_| RuntimeError::protocol("a message of another kind"))
}
