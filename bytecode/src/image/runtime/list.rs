//! All bytecode images that the runtimes hold.

use model::{Digest, HeldImage, Holder, Runtime};

use super::{
    super::{
        Limits,
        labels::{ImageConfig, Known, Labels},
    },
    Asked, Export, RuntimeError, containerd,
    engine::{self, Engine},
    podman,
    storage::Storage,
    user::User,
};

fn held(holder: &Holder, digest: Digest, names: Vec<String>, labels: Labels) -> HeldImage {
    HeldImage {
        holder: holder.clone(),
        references: names,
        digest,
        programs: labels.programs,
        maps: labels.maps,
    }
}

fn of_engine(holder: &Holder, engine: &Engine) -> Result<Vec<HeldImage>, RuntimeError> {
    let images = engine.list()?.into_iter();
    Ok(images
        .filter_map(|image| {
            let of_image = image.labels.as_ref()?;
            if of_image.is_empty() {
                return None;
            }
            let mut names = image.repo_tags.unwrap_or_default();
            names.retain(|name| name != "<none>:<none>");
            // Labels that cannot be read are said so when the image is loaded.
            let labels = Labels::read(of_image).unwrap_or_default();
            Some(held(holder, engine::id(&image.id)?, names, labels))
        })
        .collect())
}

fn of_storage(
    holder: &Holder,
    storage: &Storage,
    limits: Limits,
) -> Result<Vec<HeldImage>, RuntimeError> {
    let images = storage.list()?.into_iter();
    Ok(images
        .filter_map(|image| {
            let config = image.config(limits.manifest);
            let config = config.inspect_err(|error| skipped(&image.names, error));
            let config = ImageConfig::parse(&config.ok()?.bytes).ok()?;
            if config.known().is_none_or(Known::is_empty) {
                return None;
            }
            let labels = config.labels().unwrap_or_default();
            Some(held(holder, image.id, image.names, labels))
        })
        .collect())
}

fn skipped(names: &[String], error: &Export) {
    let why = match error {
        Export::Runtime(error) => error.in_full(),
        Export::Image(error) => error.to_string(),
    };
    log::debug!("{}: {why}", names.join(", "));
}

impl Asked<'_> {
    /// All bytecode images of all runtimes, by runtime and name.
    pub(crate) fn list(&mut self, limits: Limits) -> Vec<HeldImage> {
        let mut all = Vec::new();
        for runtime in self.order() {
            let mut images = match runtime {
                Runtime::Docker => self.list_docker(),
                Runtime::Podman => self.list_podman(limits),
                Runtime::Containerd => self.list_containerd(limits),
            };
            // What has no name is a step of a build, or has been replaced.
            images.retain_mut(|image| {
                image.references.sort_unstable();
                !image.references.is_empty()
            });
            images.sort_by(|a, b| (&a.references, a.digest).cmp(&(&b.references, b.digest)));
            all.append(&mut images);
        }
        all
    }

    fn list_docker(&mut self) -> Vec<HeldImage> {
        let mut images = Vec::new();
        for (holder, engine) in self.docker_engines() {
            match of_engine(&holder, &engine) {
                Ok(found) => images.extend(found),
                Err(error) => self.pass_docker(&holder, &error),
            }
        }
        images
    }

    fn list_podman(&mut self, limits: Limits) -> Vec<HeldImage> {
        let Some(address) = podman::address(self.settings.podman_socket.as_ref()) else {
            let users = User::all().into_iter();
            return users
                .flat_map(|user| self.list_podman_of(&user, limits))
                .collect();
        };
        let Some((holder, engine)) = self.podman_at(address) else {
            return Vec::new();
        };
        of_engine(&holder, &engine).unwrap_or_else(|error| {
            self.skip(&holder, &error);
            Vec::new()
        })
    }

    fn list_podman_of(&mut self, user: &User, limits: Limits) -> Vec<HeldImage> {
        let mut holder = podman::holder(&podman::socket(user), user);
        match of_engine(&holder, &Engine::new(&holder.at)) {
            Ok(images) => return images,
            Err(RuntimeError::Unreachable { source }) if podman::is_silent(&source) => {}
            Err(error) => self.skip(&holder, &error),
        }
        let listed = Storage::of(user).and_then(|storage| {
            let Some(storage) = storage else {
                return Ok(Vec::new());
            };
            storage.root().clone_into(&mut holder.at);
            of_storage(&holder, &storage, limits)
        });
        listed.unwrap_or_else(|error| {
            self.skip(&holder, &error);
            Vec::new()
        })
    }

    fn list_containerd(&mut self, limits: Limits) -> Vec<HeldImage> {
        let mut images = Vec::new();
        let Some((mut holder, connection)) = self.containerd() else {
            return images;
        };
        for name in &self.settings.containerd_namespaces {
            let namespace = containerd::Namespace {
                connection: &connection,
                name,
            };
            holder.namespace = Some(name.clone());
            let found = match namespace.list(Vec::new()) {
                Ok(found) => found,
                Err(error) => {
                    self.skip(&holder, &error);
                    break;
                }
            };
            for image in found {
                let Some(digest) = image.digest() else {
                    continue;
                };
                match namespace.describe(digest, limits) {
                    Ok(found) if found.is_bytecode() => {
                        let labels = found.labels().clone();
                        images.push(held(&holder, digest, vec![image.name], labels));
                    }
                    Ok(_) => {}
                    // Most images of a node are none of bytecode, or only partly there.
                    Err(error) => skipped(&[image.name], &error),
                }
            }
        }
        images
    }
}
