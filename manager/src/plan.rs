//! What a load is going to do, worked out before anything is locked or changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
};

use bytecode::{
    Object, Program,
    image::{self, Images, Progress},
};
use kernel::{Loaded, PinTree, Role, Spec, Value};
use model::{ProgramId, Provenance, Record, Source, hex_globals};

use crate::{Error, LoadRequest, Result, session::Session};

/// Maps of the owner, by their names in the object.
pub(crate) type Shared = BTreeMap<String, OwnedFd>;

/// A request with its object read and checked.
pub(crate) struct Plan<'a> {
    pub(crate) request: &'a LoadRequest,
    pub(crate) program: Program,
    /// What the program is to run on, already open; None for the hooks of an interface and for
    /// fentry and fexit.
    pub(crate) event: Option<OwnedFd>,
    object: Object,
    provenance: Option<Provenance>,
    values: Vec<Value>,
    maps: BTreeSet<String>,
    tail_calls: Vec<String>,
}

/// The object of a request.
pub(crate) struct Resolved {
    pub(crate) object: Object,
    /// The program that is meant, where the request or the labels say so.
    name: Option<String>,
    provenance: Option<Provenance>,
}

impl<'a> Plan<'a> {
    /// Reads the object and checks all that can be checked without a lock.
    pub(crate) fn make(
        images: &Images,
        request: &'a LoadRequest,
        progress: &Progress<'_>,
    ) -> Result<Self> {
        request.attach.validate()?;
        if request.metadata.keys().any(String::is_empty) {
            return Err(Error::Invalid("a metadata key must not be empty"));
        }
        let wrong = |source| Error::Object {
            from: request.source.to_string(),
            source,
        };
        let Resolved {
            object,
            name,
            provenance,
        } = resolve(images, request, progress).map_err(wrong)?;
        let program = object
            .choose(name.as_deref(), &request.attach)
            .map_err(wrong)?
            .clone();
        let values = request
            .globals
            .iter()
            .map(|(name, value)| {
                let patch = object.patch(name, value)?;
                Ok(Value {
                    section: patch.map,
                    offset: patch.offset,
                    bytes: patch.value,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(wrong)?;
        let maps = object.maps_of(&program);
        let tail_calls = object
            .tail_calls_of(&program)
            .iter()
            .map(|other| other.name().to_owned())
            .collect();
        let event = kernel::open_event(&request.attach)?;
        Ok(Self {
            request,
            program,
            event,
            object,
            provenance,
            values,
            maps,
            tail_calls,
        })
    }

    /// Loads the program.
    pub(crate) fn load(&self, role: Role<'_>, shared: &Shared) -> Result<Loaded> {
        let object = self
            .object
            .bytes_for(&self.program)
            .map_err(|source| self.wrong(source))?;
        let spec = Spec {
            object: &object,
            program: self.program.name(),
            role,
            values: &self.values,
            maps: &self.maps,
            tail_calls: &self.tail_calls,
            shared,
        };
        Ok(kernel::load(&spec)?)
    }

    fn wrong(&self, source: bytecode::Error) -> Error {
        Error::Object {
            from: self.request.source.to_string(),
            source,
        }
    }

    /// It asks for packets in several fragments.
    pub(crate) fn frags(&self) -> bool {
        self.program.section().starts_with("xdp.frags")
    }

    /// The program whose maps are to be used, and those maps.
    pub(crate) fn shared(&self, session: &Session) -> Result<(Option<ProgramId>, Shared)> {
        let Some(asked) = self.request.map_owner_id else {
            return Ok((None, Shared::new()));
        };
        let records = session.state.programs.values();
        // Maps outlive the program that made them as long as another one uses them.
        let user = session.state.programs.get(&asked);
        let user = user.or_else(|| records.clone().find(|record| record.maps == asked));
        let owner = user.ok_or(Error::NoMapOwner(asked))?;
        let folder = session.pins.maps(owner.maps);
        let mut shared = Shared::new();
        for map in self.maps.iter().filter(|map| self.may_share(map, owner)) {
            if let Some(fd) = PinTree::open(&folder.join(kernel::map_pin_name(map)))? {
                shared.insert(map.clone(), fd);
            }
        }
        if shared.is_empty() {
            return Err(Error::NothingShared {
                owner: asked,
                program: self.program.name().to_owned(),
                has: names_in(&folder),
                uses: self
                    .maps
                    .iter()
                    .filter(|map| !map.starts_with('.'))
                    .cloned()
                    .collect(),
            });
        }
        Ok((Some(owner.maps), shared))
    }

    /// Variables mean the same in copies of one object only; constants belong to each program.
    fn may_share(&self, map: &str, owner: &Record) -> bool {
        if kernel::is_constant(map) {
            return false;
        }
        !map.starts_with('.') || owner.digest == self.object.digest()
    }

    /// The record of the loaded program.
    pub(crate) fn record(
        &self,
        id: ProgramId,
        place: Option<model::Place>,
        maps: ProgramId,
        seq: u64,
    ) -> Record {
        Record {
            id,
            name: self.program.name().to_owned(),
            source: self.request.source.clone(),
            provenance: self.provenance.clone(),
            digest: self.object.digest().to_owned(),
            attach: self.request.attach.clone(),
            place,
            globals: hex_globals(&self.request.globals),
            metadata: self.request.metadata.clone(),
            map_owner: self.request.map_owner_id,
            maps,
            seq,
        }
    }
}

/// The object, and the program that is meant. What may take long, a download, happens here: before
/// anything is locked.
pub(crate) fn resolve(
    images: &Images,
    request: &LoadRequest,
    progress: &Progress<'_>,
) -> Result<Resolved, bytecode::Error> {
    match &request.source {
        Source::File { path } => Ok(Resolved {
            object: Object::parse(bytecode::read_file(path)?)?,
            name: request.name.clone(),
            provenance: None,
        }),
        Source::Image { url, pull_policy } => {
            let wanted = image::Request {
                reference: url,
                policy: *pull_policy,
                auth: request.registry_auth.as_ref(),
            };
            let loaded = images.load(&wanted, progress)?;
            let declared = loaded.declared(request.attach.kind()).map(str::to_owned);
            Ok(Resolved {
                object: loaded.object,
                name: request.name.clone().or(declared),
                provenance: Some(loaded.provenance),
            })
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
