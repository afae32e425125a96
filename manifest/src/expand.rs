//! From a document to the programs that it stands for on this host.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{
    Attach, DEFAULT_PRIORITY, Direction, ImageReference, Kind, NetAttach, ProceedOn, PullPolicy,
    Source,
};
use serde_saphyr::{Location, Spanned};

use crate::{
    Desired, Document, Error, Identity, Origin, Selector,
    document::{InterfaceSelector, Spec},
    field::KINDS,
    identity::kind_name,
};

/// What manifests ask a host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `[host] labels` of the configuration.
    pub labels: BTreeMap<String, String>,
    /// The interface of the default route.
    pub primary: Option<String>,
}

/// The programs that documents stand for on this host, and what is wrong with the others.
pub fn expand(documents: &[Document], host: &Host) -> (Vec<Desired>, Vec<Error>) {
    let (mut desired, mut errors) = (Vec::new(), Vec::new());
    for document in documents {
        match one(document, host) {
            Ok(programs) => desired.extend(programs),
            Err(error) => errors.push(error),
        }
    }
    (desired, errors)
}

/// The kind of a document; None for an unknown one.
pub(crate) fn kind_of(document: &Document) -> Option<Kind> {
    let name = &document.written.kind.value;
    KINDS.iter().copied().find(|kind| kind_name(*kind) == *name)
}

/// What is wrong with a document, whatever the host.
pub(crate) fn check(document: &Document, kind: Kind) -> Vec<Error> {
    let anywhere = Host {
        labels: BTreeMap::new(),
        primary: Some("lo".to_owned()),
    };
    let reader = Reader { document, kind };
    reader.programs(&anywhere).err().into_iter().collect()
}

fn one(document: &Document, host: &Host) -> Result<Vec<Desired>, Error> {
    let Some(kind) = kind_of(document) else {
        return Ok(Vec::new());
    };
    let here = match &document.written.spec.value.nodeselector {
        Some(selector) => Selector(selector.value.clone()).selects(&host.labels),
        None => true,
    };
    if here {
        Reader { document, kind }.programs(host)
    } else {
        Ok(Vec::new())
    }
}

/// Reads the fields of one document.
struct Reader<'a> {
    document: &'a Document,
    kind: Kind,
}

impl Reader<'_> {
    fn spec(&self) -> &Spec {
        &self.document.written.spec.value
    }

    fn wrong(&self, location: Location, what: impl Into<String>) -> Error {
        Error::at(&self.document.file, location, what)
    }

    /// The field that an attach argument comes from.
    fn place_of(&self, error: &model::AttachError) -> Location {
        use model::AttachError as E;
        let spec = self.spec();
        let place = match error {
            E::Priority(_) => spec.priority.as_ref().map(|field| field.referenced),
            E::Iface(_) => spec
                .interfaceselector
                .as_ref()
                .map(|field| field.referenced),
            E::ReturnOffset => spec.offset.as_ref().map(|field| field.referenced),
            _ => None,
        };
        place.unwrap_or_else(|| self.document.location())
    }

    /// A field that the kind cannot do without.
    fn required<'a, T>(
        &self,
        field: Option<&'a Spanned<T>>,
        name: &str,
    ) -> Result<&'a Spanned<T>, Error> {
        let missing = || {
            let what = format!("{} needs the field '{name}' in spec", kind_name(self.kind));
            self.wrong(self.document.location(), what)
        };
        field.ok_or_else(missing)
    }

    fn programs(&self, host: &Host) -> Result<Vec<Desired>, Error> {
        let (spec, metadata) = (self.spec(), &self.document.written.metadata);
        let (source, globals) = (self.source()?, self.globals()?);
        let map_owner = spec.mapownerselector.as_ref().map(|selector| {
            let wanted = Selector(selector.value.clone());
            if wanted.is_empty() {
                let what = "mapownerselector selects nothing: name a label in matchLabels";
                return Err(self.wrong(selector.referenced, what));
            }
            Ok(wanted)
        });
        let map_owner = map_owner.transpose()?;
        let origin = Origin {
            file: self.document.file.clone(),
            line: self.document.location().line(),
        };
        let program = |(instance, attach): (String, Attach)| {
            attach
                .validate()
                .map_err(|error| self.wrong(self.place_of(&error), error.to_string()))?;
            Ok(Desired {
                identity: Identity {
                    kind: self.kind,
                    name: metadata.name.value.clone(),
                    instance,
                },
                set: self.document.set.clone(),
                origin: origin.clone(),
                source: source.clone(),
                function: spec.bpffunctionname.as_ref().map(|name| name.value.clone()),
                globals: globals.clone(),
                labels: metadata
                    .labels
                    .as_ref()
                    .map(|labels| labels.value.clone())
                    .unwrap_or_default(),
                attach,
                map_owner: map_owner.clone(),
            })
        };
        self.attachments(host)?.into_iter().map(program).collect()
    }

    fn source(&self) -> Result<Source, Error> {
        let spec = self.spec();
        match (&spec.bpf_program, &spec.bytecode) {
            (Some(program), None) => self.image(&program.value.image, PullPolicy::default()),
            (None, Some(bytecode)) => match (&bytecode.value.image, &bytecode.value.path) {
                (Some(image), None) => {
                    if let Some(secret) = &image.value.imagepullsecret {
                        let what = "imagepullsecret names a Secret of a cluster, which one host \
                                    does not have: leave it out, and log in to the registry as \
                                    root, with 'podman login' or 'docker login'";
                        return Err(self.wrong(secret.referenced, what));
                    }
                    let policy = match &image.value.imagepullpolicy {
                        None => PullPolicy::default(),
                        Some(word) => word.value.parse().map_err(|error| {
                            let what = format!("unknown policy '{}': {error}", word.value);
                            self.wrong(word.referenced, what)
                        })?,
                    };
                    self.image(&image.value.url, policy)
                }
                (None, Some(path)) => {
                    if path.value.is_empty() {
                        return Err(self.wrong(path.referenced, "the path must not be empty"));
                    }
                    // Components, so that ./ in the middle makes no difference.
                    let path = self.document.folder.join(&path.value);
                    let path: PathBuf = path.components().collect();
                    Ok(Source::File { path })
                }
                _ => Err(self.wrong(bytecode.referenced, "bytecode takes either image or path")),
            },
            (Some(program), Some(_)) => Err(self.wrong(
                program.referenced,
                "spec takes either bpfProgram or bytecode, not both",
            )),
            (None, None) => Err(self.wrong(
                self.document.location(),
                "spec needs bytecode (with image or path) or bpfProgram (with image)",
            )),
        }
    }

    fn image(&self, url: &Spanned<String>, pull_policy: PullPolicy) -> Result<Source, Error> {
        let url: ImageReference = url.value.parse().map_err(|error| {
            let what = format!("'{}' names no image: {error}", url.value);
            self.wrong(url.referenced, what)
        })?;
        Ok(Source::Image { url, pull_policy })
    }

    fn globals(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let globals = self.spec().globaldata.iter();
        let pairs = globals.flat_map(|globals| &globals.value);
        pairs
            .map(|(name, value)| {
                let bytes = STANDARD.decode(value.value.trim());
                match bytes {
                    Ok(bytes) if !bytes.is_empty() => Ok((name.clone(), bytes)),
                    Ok(_) => {
                        let what = format!("globaldata '{name}' is empty");
                        Err(self.wrong(value.referenced, what))
                    }
                    Err(_) => {
                        let what = format!(
                            "globaldata '{name}' is not base64: write the variable's bytes in \
                             memory order, in base64"
                        );
                        Err(self.wrong(value.referenced, what))
                    }
                }
            })
            .collect()
    }

    /// One attachment for each interface or event, and what tells it from the others.
    fn attachments(&self, host: &Host) -> Result<Vec<(String, Attach)>, Error> {
        let spec = self.spec();
        match self.kind {
            Kind::Xdp | Kind::Tc | Kind::Tcx => self.on_interfaces(host),
            Kind::Tracepoint => self.on_tracepoints(),
            Kind::Kprobe | Kind::Fentry | Kind::Fexit => {
                let function = self.required(spec.func_name.as_ref(), "func_name")?;
                let fn_name = function.value.clone();
                let attach = match self.kind {
                    Kind::Fentry => Attach::Fentry { fn_name },
                    Kind::Fexit => Attach::Fexit { fn_name },
                    _ => Attach::Kprobe {
                        fn_name,
                        offset: spec.offset.as_ref().map_or(0, |offset| offset.value),
                        retprobe: spec.retprobe.as_ref().is_some_and(|ret| ret.value),
                    },
                };
                Ok(vec![(String::new(), attach)])
            }
            Kind::Uprobe => {
                if let Some(containers) = &spec.containers {
                    let what = "containers selects pods of a cluster, which only its operator \
                                knows; on one host write containerpid, the pid of a process in \
                                the container";
                    return Err(self.wrong(containers.referenced, what));
                }
                let attach = Attach::Uprobe {
                    target: self.required(spec.target.as_ref(), "target")?.value.clone(),
                    fn_name: spec.func_name.as_ref().map(|name| name.value.clone()),
                    offset: spec.offset.as_ref().map_or(0, |offset| offset.value),
                    retprobe: spec.retprobe.as_ref().is_some_and(|ret| ret.value),
                    pid: spec.pid.as_ref().map(|pid| pid.value),
                    container_pid: spec.containerpid.as_ref().map(|pid| pid.value),
                };
                Ok(vec![(String::new(), attach)])
            }
        }
    }

    fn on_tracepoints(&self) -> Result<Vec<(String, Attach)>, Error> {
        let names = self.required(self.spec().names.as_ref(), "names")?;
        if names.value.is_empty() {
            return Err(self.wrong(names.referenced, "names is empty"));
        }
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for name in &names.value {
            let tracepoint = name.value.parse().map_err(|error: model::AttachError| {
                self.wrong(name.referenced, error.to_string())
            })?;
            if seen.insert(name.value.clone()) {
                all.push((name.value.clone(), Attach::Tracepoint { tracepoint }));
            }
        }
        Ok(all)
    }

    fn on_interfaces(&self, host: &Host) -> Result<Vec<(String, Attach)>, Error> {
        let spec = self.spec();
        let selector = self.required(spec.interfaceselector.as_ref(), "interfaceselector")?;
        let priority = spec.priority.as_ref();
        let priority = priority.map_or(DEFAULT_PRIORITY, |priority| priority.value);
        let direction = if self.kind == Kind::Xdp {
            Direction::Ingress
        } else {
            let word = self.required(spec.direction.as_ref(), "direction")?;
            let parsed = word.value.parse();
            parsed.map_err(|error: model::AttachError| {
                self.wrong(word.referenced, error.to_string())
            })?
        };
        let proceed_on = self.proceed_on()?;
        let attach = |iface: String| {
            let net = NetAttach {
                iface,
                netns: spec.netns.as_ref().map(|netns| PathBuf::from(&netns.value)),
                priority,
            };
            match self.kind {
                Kind::Xdp => Attach::Xdp { net, proceed_on },
                Kind::Tc => Attach::Tc {
                    net,
                    direction,
                    proceed_on,
                },
                _ => Attach::Tcx { net, direction },
            }
        };
        let interfaces = self.interfaces(selector, host)?;
        Ok(interfaces
            .into_iter()
            .map(|iface| (iface.clone(), attach(iface)))
            .collect())
    }

    /// The interfaces, each once.
    fn interfaces(
        &self,
        selector: &Spanned<InterfaceSelector>,
        host: &Host,
    ) -> Result<Vec<String>, Error> {
        let named = &selector.value.interfaces;
        let mut all: Vec<String> = Vec::new();
        for iface in named {
            if !all.contains(&iface.value) {
                all.push(iface.value.clone());
            }
        }
        if selector.value.primarynodeinterface {
            if self.spec().netns.is_some() {
                let what = "primarynodeinterface is the interface of this host's default route: \
                            it cannot be in netns";
                return Err(self.wrong(selector.referenced, what));
            }
            let Some(primary) = &host.primary else {
                let what = "this host has no default route, and so no primary interface";
                return Err(self.wrong(selector.referenced, what));
            };
            if !all.contains(primary) {
                all.push(primary.clone());
            }
        }
        if all.is_empty() {
            let what = "interfaceselector selects no interface: write interfaces or \
                        primarynodeinterface: true";
            return Err(self.wrong(selector.referenced, what));
        }
        Ok(all)
    }

    fn proceed_on(&self) -> Result<ProceedOn, Error> {
        let Some(words) = &self.spec().proceedon else {
            return Ok(ProceedOn::default_of(self.kind));
        };
        let mut set = ProceedOn(0);
        for word in &words.value {
            let one = ProceedOn::parse(self.kind, [&word.value])
                .map_err(|error| self.wrong(word.referenced, error.to_string()))?;
            set = ProceedOn(set.0 | one.0);
        }
        Ok(set)
    }
}
