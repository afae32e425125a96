//! Credentials as people keep them, against a registry that wants them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use testkit::{
    Output, Sandbox, example,
    servers::{Options, Registry},
};

use crate::support::{basic, layout, pull, stored};

const USER: &str = "anna";
const PASSWORD: &str = "s3cret:with colon";

/// A registry with the image `a/b/c`, and a pull that asks it each time.
struct World {
    registry: Registry,
    url: String,
    sandbox: Sandbox,
}

impl World {
    fn new(options: &Options) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, options);
        registry.push(&layout(&sandbox, &example("xdp_pass")), "a/b/c", &[]);
        let url = registry.image("a/b/c");
        Self {
            registry,
            url,
            sandbox,
        }
    }

    fn basic() -> Self {
        Self::new(&Options::default().user(USER, PASSWORD))
    }

    fn command(&self) -> Command {
        self.sandbox
            .command(["image", "pull", "-p", "Always", "-i", &self.url])
    }

    fn pull(&self) -> Output {
        pull(&self.sandbox, &self.url, &["-p", "Always"])
    }

    /// The file opens the registry while it is there, and no longer.
    #[track_caller]
    fn opens(&self, file: &Path, content: &Value) {
        refused(self.pull(), &["asks for credentials", "none were found"]);
        write(file, content);
        self.pull().ok();
        fs::remove_file(file).unwrap();
        refused(self.pull(), &["none were found"]);
    }

    fn home(&self, name: &str) -> PathBuf {
        self.sandbox.home().join(name)
    }

    fn login(&self, key: &str, password: &str) -> Value {
        let key = key.replace("HOST", &self.registry.host());
        json!({"auths": {key: {"auth": basic(USER, password)}}})
    }
}

/// Fails, and names neither the password nor what stands for it.
#[track_caller]
fn refused(output: Output, fragments: &[&str]) {
    let said = output.fails(1, fragments);
    let said = said
        .split_once("\nerror:")
        .map_or(said.as_str(), |(_, rest)| rest);
    for secret in [
        PASSWORD,
        "s3cret",
        "wrong",
        &basic(USER, PASSWORD),
        &basic(USER, "wrong"),
    ] {
        assert!(!said.contains(secret), "{said}");
    }
}

fn write(file: &Path, content: &Value) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content.to_string()).unwrap();
}

#[test]
fn none_or_wrong_ones() {
    let world = World::basic();
    refused(
        world.pull(),
        &[
            "cannot pull",
            "asks for credentials for 'a/b/c', and none were found",
            "hint: log in with podman login",
            "--registry-auth",
        ],
    );
    let request = ["-r", &basic(USER, "wrong")];
    let output = pull(&world.sandbox, &world.url, &request);
    let Output { stderr, .. } = &output;
    assert!(!stderr.contains(&basic(USER, "wrong")), "{stderr}");
    refused(output, &["refuses those of --registry-auth"]);
    let file = world.home(".docker/config.json");
    write(&file, &world.login("HOST", "wrong"));
    refused(
        world.pull(),
        &[
            "refuses those of",
            ".docker/config.json",
            "hint: log in again",
        ],
    );
    assert_eq!(stored(&world.sandbox), [""; 0]);
}

#[test]
fn of_the_request() {
    let world = World::basic();
    let auth = basic(USER, PASSWORD);
    // It outweighs what is logged in.
    write(
        &world.home(".docker/config.json"),
        &world.login("HOST", "wrong"),
    );
    pull(&world.sandbox, &world.url, &["-r", &auth, "-p", "Always"]).ok();
    let load = example("xdp_pass").of_image(&world.url);
    let load = load.with(&["-r", &auth, "-p", "Always"]).xdp("lo");
    let id = world.sandbox.load(&load);
    // It is kept nowhere.
    for root in ["/run/bpfman", "/run/images"] {
        let found = Output::of(Command::new("grep").args(["-rlE", "s3cret|YW5uY", root]));
        assert_eq!(found.stdout, "", "{found}");
    }
    world.sandbox.unload(id);
    for malformed in ["no base64!", "bm8gY29sb24=", ""] {
        let output = pull(&world.sandbox, &world.url, &["-r", malformed]);
        let said = output.fails(2, &["--registry-auth cannot be used"]);
        assert!(malformed.is_empty() || !said.contains(malformed), "{said}");
    }
}

#[test]
fn of_the_files_of_podman_and_docker() {
    let world = World::basic();
    let login = world.login("HOST", PASSWORD);
    world.opens(&world.home(".config/containers/auth.json"), &login);
    world.opens(&world.home(".docker/config.json"), &login);
    world.opens(Path::new("/run/containers/0/auth.json"), &login);
    let plain = json!({"auths": {world.registry.host(): {"username": USER, "password": PASSWORD}}});
    world.opens(&world.home(".docker/config.json"), &plain);
}

#[test]
fn of_the_folders_that_variables_name() {
    let world = World::basic();
    let login = world.login("HOST", PASSWORD);
    for (name, value, file) in [
        ("REGISTRY_AUTH_FILE", "/run/test/x.json", "/run/test/x.json"),
        (
            "XDG_RUNTIME_DIR",
            "/run/test/r",
            "/run/test/r/containers/auth.json",
        ),
        (
            "XDG_CONFIG_HOME",
            "/run/test/c",
            "/run/test/c/containers/auth.json",
        ),
        ("DOCKER_CONFIG", "/run/test/d", "/run/test/d/config.json"),
    ] {
        write(Path::new(file), &login);
        refused(world.pull(), &["none were found"]);
        Output::of(world.command().env(name, value)).ok();
    }
    // A file that was named on purpose is the only one.
    write(&world.home(".docker/config.json"), &login);
    world.pull().ok();
    write(Path::new("/run/test/x.json"), &json!({"auths": {}}));
    let output = Output::of(
        world
            .command()
            .env("REGISTRY_AUTH_FILE", "/run/test/x.json"),
    );
    refused(output, &["none were found"]);
    fs::write("/run/test/x.json", format!("{{\"{PASSWORD}\": s3cret")).unwrap();
    let output = Output::of(
        world
            .command()
            .env("REGISTRY_AUTH_FILE", "/run/test/x.json"),
    );
    refused(output, &["x.json cannot be understood", "line 1"]);
}

#[test]
fn of_the_key_that_names_most() {
    let world = World::basic();
    let file = world.home(".config/containers/auth.json");
    for key in [
        "HOST/a/b/c",
        "HOST/a/b",
        "HOST/a",
        "HOST",
        "https://HOST/v2/",
    ] {
        world.opens(&file, &world.login(key, PASSWORD));
    }
    for key in ["HOST/a/b/c/d", "HOST/a/bb", "HOST/b", "HOST0", "localhost"] {
        write(&file, &world.login(key, PASSWORD));
        refused(world.pull(), &["none were found"]);
    }
    let both = |wide, narrow| {
        let host = world.registry.host();
        let [wide, narrow] = [wide, narrow].map(|word| json!({"auth": basic(USER, word)}));
        json!({"auths": {host.clone(): wide, format!("{host}/a/b"): narrow}})
    };
    write(&file, &both("wrong", PASSWORD));
    world.pull().ok();
    write(&file, &both(PASSWORD, "wrong"));
    refused(world.pull(), &["refuses those of"]);
}

/// `docker-credential-NAME` on a `PATH` of the test's own.
struct Helper(PathBuf);

impl Helper {
    fn write(world: &World, name: &str, script: &str) -> Self {
        let dir = world.sandbox.tmp().join("bin");
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join(format!("docker-credential-{name}"));
        fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn pull(&self, world: &World) -> Output {
        let path = std::env::var("PATH").unwrap();
        Output::of(
            world
                .command()
                .env("PATH", format!("{}:{path}", self.0.display())),
        )
    }
}

/// Answers only who asks for the right registry.
fn knows(host: &str, password: &str) -> String {
    format!(
        "read host\n\
         if [ \"$1 $host\" != 'get {host}' ]; then\n\
         echo 'credentials not found in native keychain'; exit 1; fi\n\
         echo '{{\"ServerURL\": \"{host}\", \"Username\": \"{USER}\", \"Secret\": \"{password}\"}}'\n"
    )
}

#[test]
fn of_a_helper() {
    let world = World::basic();
    let file = world.home(".docker/config.json");
    let host = world.registry.host();
    let helper = Helper::write(&world, "right", &knows(&host, PASSWORD));
    Helper::write(&world, "wrong", &knows(&host, "wrong"));
    Helper::write(&world, "nobody", &knows("elsewhere", PASSWORD));
    Helper::write(&world, "broken", "echo it hurts; exit 3");
    Helper::write(&world, "babbling", "echo s3cret is no json");

    write(&file, &json!({"credHelpers": {&host: "right"}}));
    helper.pull(&world).ok();
    write(&file, &json!({"credsStore": "right"}));
    helper.pull(&world).ok();
    // One for a registry outweighs the store of all.
    write(
        &file,
        &json!({"credsStore": "wrong", "credHelpers": {&host: "right"}}),
    );
    helper.pull(&world).ok();
    write(
        &file,
        &json!({"credsStore": "right", "credHelpers": {&host: "wrong"}}),
    );
    refused(helper.pull(&world), &["refuses those of", "config.json"]);
    // A store that does not know the registry leaves it to the file, and then to the next file.
    let mut config = world.login("HOST", PASSWORD);
    config["credsStore"] = json!("nobody");
    write(&file, &config);
    helper.pull(&world).ok();
    write(&file, &json!({"credsStore": "nobody"}));
    refused(helper.pull(&world), &["none were found"]);

    for (name, said) in [
        (
            "broken",
            &["credential helper 'broken' failed", "3: it hurts"][..],
        ),
        ("babbling", &["credential helper 'babbling' failed"]),
        (
            "missing",
            &["credential helper 'missing' failed", "no such file"],
        ),
        (
            "../right",
            &["credential helper '../right' failed", "no name"],
        ),
    ] {
        write(&file, &json!({"credHelpers": {&host: name}}));
        refused(helper.pull(&world), said);
    }
}

#[test]
fn of_the_user_behind_sudo() {
    const UID: u32 = 4321;
    let world = World::basic();
    let etc = world.sandbox.own_etc();
    let home = world.home("berta");
    let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
    let entry = format!("berta:x:{UID}:{UID}::{}:/bin/sh\n", home.display());
    fs::write(etc.join("passwd"), passwd + &entry).unwrap();
    let host = world.registry.host();
    let script = "[ $(id -u) = 4321 ] && [ $HOME = /run/home/berta ] || exit 9\n".to_owned();
    let helper = Helper::write(&world, "own", &(script + &knows(&host, PASSWORD)));
    let path = format!("{}:{}", helper.0.display(), std::env::var("PATH").unwrap());
    let sudo = || {
        let mut command = world.command();
        let number = UID.to_string();
        command.env("SUDO_USER", "berta").env("PATH", &path);
        command.env("SUDO_UID", &number).env("SUDO_GID", number);
        Output::of(&mut command)
    };
    let own = |file: &Path| {
        chown(file, Some(UID), Some(UID)).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    refused(sudo(), &["none were found"]);
    for name in [".config/containers/auth.json", ".docker/config.json"] {
        let file = home.join(name);
        write(&file, &world.login("HOST", PASSWORD));
        // A file of somebody else in their folder is not theirs to use.
        refused(sudo(), &["none were found"]);
        own(&file);
        sudo().ok();
        refused(world.pull(), &["none were found"]);
        fs::remove_file(&file).unwrap();
    }
    let file = Path::new("/run/user/4321/containers/auth.json");
    write(file, &world.login("HOST", PASSWORD));
    own(file);
    sudo().ok();
    fs::remove_file(file).unwrap();
    // What root has comes first, and a link to what is root's opens nothing.
    let [secret, link] = [
        Path::new("/run/test/root.json"),
        &home.join(".docker/config.json"),
    ];
    write(secret, &world.login("HOST", PASSWORD));
    std::os::unix::fs::symlink(secret, link).unwrap();
    refused(sudo(), &["none were found"]);
    fs::remove_file(link).unwrap();
    // Their helper runs as them.
    write(link, &json!({"credsStore": "own"}));
    own(link);
    sudo().ok();
}

#[test]
fn of_a_token_service() {
    let world = World::new(&Options::default().tokens(USER, PASSWORD));
    refused(world.pull(), &["asks for credentials", "none were found"]);
    write(
        &world.home(".docker/config.json"),
        &world.login("HOST", "wrong"),
    );
    refused(world.pull(), &["refuses those of", "config.json"]);
    write(
        &world.home(".docker/config.json"),
        &world.login("HOST", PASSWORD),
    );
    world.pull().ok();
    let auth = basic(USER, PASSWORD);
    pull(&world.sandbox, &world.url, &["-r", &auth, "-p", "Always"]).ok();
    assert!(
        world.registry.log().contains("testkit"),
        "no token came to the registry"
    );
}

/// Docker Hub has a name of its own in these files, and helpers know it by that.
#[test]
fn of_docker_hub() {
    let mut world = World::new(&Options::default().tls().port(443).user(USER, PASSWORD));
    let etc = world.sandbox.own_etc();
    fs::write(etc.join("hosts"), "127.0.0.1 registry-1.docker.io\n").unwrap();
    let folder = etc.join("docker/certs.d/registry-1.docker.io");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(world.registry.ca().certificate(), folder.join("ca.crt")).unwrap();
    world.url = "docker.io/a/b/c".to_owned();
    let file = world.home(".docker/config.json");
    for key in ["https://index.docker.io/v1/", "docker.io", "docker.io/a"] {
        world.opens(&file, &world.login(key, PASSWORD));
    }
    let hub = "https://index.docker.io/v1/";
    let helper = Helper::write(&world, "hub", &knows(hub, PASSWORD));
    write(&file, &json!({"credsStore": "hub"}));
    helper.pull(&world).ok();
    write(&file, &json!({"credHelpers": {hub: "hub"}}));
    helper.pull(&world).ok();
}

/// Every file below a folder that holds one of the words.
fn files_with(root: &Path, words: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, words));
        } else if kind.is_file() {
            // Pins cannot be read.
            let bytes = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            found.extend(words.iter().any(|word| text.contains(word)).then_some(path));
        }
    }
    found
}

/// Not in what is said, however much is asked for, not in state or store, and not among the
/// arguments of a helper, which everybody on the machine can read.
#[test]
fn secrets_go_nowhere_but_to_the_registry() {
    let world = World::basic();
    let veth = world.sandbox.veth();
    let secrets = [PASSWORD.to_owned(), "s3cret".into(), basic(USER, PASSWORD)];
    let host = world.registry.host();
    let noted = world.sandbox.tmp().join("arguments");
    let script = format!("echo \"$0 $@\" >> {}; env >> {0}\n", noted.display());
    let helper = Helper::write(&world, "right", &(script + &knows(&host, PASSWORD)));
    let file = world.home(".docker/config.json");
    let path = format!("{}:{}", helper.0.display(), std::env::var("PATH").unwrap());
    for way in ["request", "file", "helper"] {
        let mut words = vec![
            "-vvv", "load", "image", "-o", "id", "-p", "Always", "-i", &world.url,
        ];
        let given = basic(USER, PASSWORD);
        match way {
            "request" => words.extend(["-r", &given]),
            "file" => write(&file, &world.login("HOST", PASSWORD)),
            _ => write(&file, &json!({"credHelpers": {&host: "right"}})),
        }
        words.extend(["xdp", "-i", &veth.name]);
        let output = Output::of(world.sandbox.command(words).env("PATH", &path));
        let said = format!("{}{}", output.stdout, output.stderr);
        let id = output.ok();
        assert!(said.contains("debug: "), "{said}");
        assert!(
            !secrets.iter().any(|secret| said.contains(secret)),
            "{way}: {said}"
        );
        for root in [world.sandbox.runtime_dir(), world.sandbox.images()] {
            let found = files_with(root, &secrets);
            assert!(found.is_empty(), "{way}: {found:?}");
        }
        world.sandbox.bpfman(["unload", id.trim()]).ok();
    }
    let noted = fs::read_to_string(noted).unwrap();
    assert!(noted.contains("docker-credential-right get"), "{noted}");
    assert!(
        !secrets.iter().any(|secret| noted.contains(secret)),
        "{noted}"
    );
}
