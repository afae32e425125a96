use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;

/// A store in a folder of its own.
fn scratch() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("images"));
    (dir, store)
}

fn name(text: &str) -> ImageReference {
    text.parse().unwrap()
}

/// Puts an image of four blobs into the store.
fn add(store: &Store, reference: &str, content: &str) -> Entry {
    let writer = store.writer().unwrap();
    let digests = ["index", "manifest", "config", "object"].map(|part| {
        let bytes = format!("{part} {content}");
        let digest = digest::of(bytes.as_bytes());
        writer.put(digest, bytes.as_bytes()).unwrap();
        digest
    });
    let entry = Entry::new(digests, 7, "x.o".into());
    writer.put_entry(&entry).unwrap();
    writer
        .put_ref(&name(reference).canonical(), entry.digest, None)
        .unwrap();
    entry
}

/// What a name stands for that a registry gave a meaning.
fn named(name: &str, entry: &Entry) -> Named {
    Named {
        name: name.to_owned(),
        entry: entry.clone(),
        holder: None,
    }
}

/// All files but the locks, relative to the store.
fn files(store: &Store) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&store.root, &mut found);
    let relative = |path: &PathBuf| {
        path.strip_prefix(&store.root)
            .unwrap()
            .display()
            .to_string()
    };
    let mut names: Vec<_> = found.iter().map(relative).collect();
    names.retain(|name| !name.starts_with("locks/"));
    names
}

fn is_damaged<T>(result: &Result<T, ImageError>) -> bool {
    matches!(result, Err(ImageError::Damaged { .. }))
}

#[test]
fn what_is_put_in_comes_out() {
    let (_dir, store) = scratch();
    assert_eq!(store.find(&name("q.io/a")).unwrap(), None);
    assert!(!store.root.exists(), "reading makes nothing");
    let entry = add(&store, "q.io/a:v1", "1");
    assert_eq!(
        store.find(&name("q.io/a:v1")).unwrap(),
        Some(named("q.io/a:v1", &entry))
    );
    assert_eq!(store.find(&name("q.io/a:v2")).unwrap(), None);
    let by_digest = format!("q.io/a@{}", entry.digest);
    assert_eq!(
        store.find(&name(&by_digest)).unwrap(),
        Some(named(&by_digest, &entry))
    );
    assert_eq!(store.blob(entry.object, 100).unwrap(), b"object 1");
    store.verify_all(&entry).unwrap();
    let mode = fs::metadata(&store.root).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mode = fs::metadata(store.blob_path(entry.object))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn damage_is_found_on_every_read() {
    let (_dir, store) = scratch();
    let entry = add(&store, "q.io/a", "1");
    let blob = store.blob_path(entry.object);
    for damage in [&b"object 2"[..], b"", b"object 1 and more"] {
        fs::write(&blob, damage).unwrap();
        assert!(is_damaged(&store.blob(entry.object, 1000)));
        assert!(is_damaged(&store.verify(entry.object)));
        assert!(is_damaged(&store.verify_all(&entry)));
    }
    fs::remove_file(&blob).unwrap();
    assert!(is_damaged(&store.verify_all(&entry)));
    let path = store.entry_path(entry.digest);
    for text in [
        "",
        "{",
        "{}",
        &fs::read_to_string(&path)
            .unwrap()
            .replace("\"version\": 1", "\"version\": 2"),
    ] {
        fs::write(&path, text).unwrap();
        assert!(is_damaged(&store.find(&name("q.io/a"))), "{text}");
    }
    fs::remove_file(&path).unwrap();
    assert!(is_damaged(&store.find(&name("q.io/a"))));
    // A reference that was copied over another one.
    let other = add(&store, "q.io/b", "2");
    let from = store.ref_path(&name("q.io/b").canonical());
    fs::copy(from, store.ref_path(&name("q.io/a").canonical())).unwrap();
    assert!(is_damaged(&store.find(&name("q.io/a"))));
    // An image under the digest of another one.
    fs::copy(store.entry_path(other.digest), &path).unwrap();
    assert!(is_damaged(&store.entry(entry.digest)));
    // Writing again repairs.
    add(&store, "q.io/a", "1");
    assert_eq!(
        store
            .find(&name("q.io/a"))
            .unwrap()
            .map(|named| named.entry.digest),
        Some(entry.digest)
    );
    store.verify_all(&entry).unwrap();
}

#[test]
fn what_others_can_change_is_refused() {
    let is_unsafe = |store: &Store| {
        let read = matches!(store.find(&name("q.io/a")), Err(ImageError::Unsafe { .. }));
        let write = matches!(store.writer().err(), Some(ImageError::Unsafe { .. }));
        read && write
    };
    let (dir, store) = scratch();
    let entry = add(&store, "q.io/a", "1");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&store.root, 0o770);
    assert!(is_unsafe(&store));
    mode(&store.root, 0o700);
    mode(&store.root.join("refs"), 0o777);
    assert!(is_unsafe(&store));
    mode(&store.root.join("refs"), 0o700);
    // Links in place of the store, of a folder and of a file.
    let link = dir.path().join("link");
    symlink(&store.root, &link).unwrap();
    assert!(is_unsafe(&Store::new(link)));
    let (blobs, aside) = (store.root.join("blobs"), dir.path().join("aside"));
    fs::rename(&blobs, &aside).unwrap();
    symlink(&aside, &blobs).unwrap();
    assert!(is_unsafe(&store));
    fs::remove_file(&blobs).unwrap();
    fs::rename(&aside, &blobs).unwrap();
    let blob = store.blob_path(entry.object);
    fs::rename(&blob, dir.path().join("blob")).unwrap();
    symlink(dir.path().join("blob"), &blob).unwrap();
    assert!(matches!(
        store.blob(entry.object, 100),
        Err(ImageError::Unsafe { .. })
    ));
    fs::remove_file(&blob).unwrap();
    fs::create_dir(&blob).unwrap();
    assert!(matches!(
        store.blob(entry.object, 100),
        Err(ImageError::Unsafe { .. })
    ));
}

#[test]
fn foreign_files_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_dir, store) = scratch();
    let entry = add(&store, "q.io/a", "1");
    std::os::unix::fs::chown(store.blob_path(entry.object), Some(1), None).unwrap();
    assert!(matches!(
        store.blob(entry.object, 100),
        Err(ImageError::Unsafe { .. })
    ));
    std::os::unix::fs::chown(&store.root, Some(1), None).unwrap();
    assert!(matches!(
        store.find(&name("q.io/a")),
        Err(ImageError::Unsafe { .. })
    ));
}

#[test]
fn nothing_stays_of_what_was_not_finished() {
    let (_dir, store) = scratch();
    let before = add(&store, "q.io/a", "1");
    let all = files(&store);
    let writer = store.writer().unwrap();
    let mut temp = writer.temp().unwrap();
    temp.file().write_all(b"half of it").unwrap();
    assert_eq!(files(&store), all, "no name before it is whole");
    drop(temp);
    assert_eq!(files(&store), all);
    // What a killed command left where the file system knows no files without a name.
    let rest = store.tmp().join("123-0");
    fs::write(&rest, b"half of it").unwrap();
    let second = store.writer().unwrap();
    assert!(rest.exists(), "somebody else is writing");
    drop((writer, second));
    drop(store.writer().unwrap());
    assert!(!rest.exists());
    store.verify_all(&before).unwrap();
}

#[test]
fn one_at_a_time_fetches_a_digest() {
    let (_dir, store) = scratch();
    let digest = digest::of(b"content");
    let fetched = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let writer = store.writer().unwrap();
                let _lock = writer.lock(digest).unwrap();
                if store.verify(digest).is_err() {
                    fetched.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    writer.put(digest, b"content").unwrap();
                }
            });
        }
    });
    assert_eq!(fetched.into_inner(), 1);
}

#[test]
fn removing_waits_for_those_who_add() {
    let (_dir, store) = scratch();
    add(&store, "q.io/a", "1");
    let writer = store.writer().unwrap();
    let bytes = b"not yet part of an image";
    let digest = digest::of(bytes);
    writer.put(digest, bytes).unwrap();
    thread::scope(|scope| {
        let pruning = scope.spawn(|| store.prune(|_| true).unwrap());
        thread::sleep(Duration::from_millis(50));
        assert!(!pruning.is_finished());
        store.verify(digest).unwrap();
        drop(writer);
    });
    assert!(is_damaged(&store.verify(digest)), "nobody needs it");
}

#[test]
fn an_image_goes_with_its_last_name() {
    let (_dir, store) = scratch();
    let first = add(&store, "q.io/a:v1", "1");
    add(&store, "q.io/a:v2", "1");
    let other = add(&store, "q.io/b", "2");
    let listed = store.list().unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|image| image.references.join(" "))
        .collect();
    assert_eq!(names, ["q.io/a:v1 q.io/a:v2", "q.io/b:latest"]);
    let remove = |text: &str| store.remove(&Target::Name(&name(text)));
    assert_eq!(remove("q.io/a:v1").unwrap(), 0);
    store.verify_all(&first).unwrap();
    assert!(matches!(remove("q.io/a:v1"), Err(ImageError::NotListed)));
    assert_eq!(
        remove("q.io/a:v2").unwrap(),
        "index 1manifest 1config 1object 1".len() as u64
    );
    assert!(is_damaged(&store.verify(first.object)));
    store.verify_all(&other).unwrap();
    store.remove(&Target::Digest(other.digest)).unwrap();
    assert_eq!(files(&store), Vec::<String>::new());
    assert!(matches!(
        store.remove(&Target::Digest(other.digest)),
        Err(ImageError::NotListed)
    ));
}

#[test]
fn blobs_that_images_share_stay_for_the_other() {
    let (_dir, store) = scratch();
    let first = add(&store, "q.io/a", "1");
    let writer = store.writer().unwrap();
    let index = digest::of(b"another index");
    writer.put(index, b"another index").unwrap();
    let digests = [index, first.manifest, first.config, first.object];
    let second = Entry::new(digests, 7, "x.o".into());
    writer.put_entry(&second).unwrap();
    writer.put_ref("q.io/b:latest", index, None).unwrap();
    drop(writer);
    store.remove(&Target::Digest(first.digest)).unwrap();
    store.verify_all(&second).unwrap();
}

/// A short name means what was built here before what Docker Hub has, until it is said again
/// what it means.
#[test]
fn a_short_name_means_one_image() {
    let (_dir, store) = scratch();
    let short = name("x:dev");
    let [local, hub] = ["localhost/x:dev", "docker.io/library/x:dev"];
    let built = add(&store, local, "1");
    let pulled = add(&store, hub, "2");
    let means = |typed: &str| {
        store
            .find(&name(typed))
            .unwrap()
            .map(|named| named.entry.digest)
    };
    assert_eq!(means("x:dev"), Some(built.digest));
    assert_eq!(means(hub), Some(pulled.digest));
    let writer = store.writer().unwrap();
    writer.put_name(&short, hub, pulled.digest, None).unwrap();
    assert_eq!(means("x:dev"), Some(pulled.digest));
    assert_eq!(means(local), None);
    writer.put_name(&short, local, built.digest, None).unwrap();
    assert_eq!(means("x:dev"), Some(built.digest));
    assert_eq!(means(hub), Some(pulled.digest));
    drop(writer);
    store.remove(&Target::Name(&short)).unwrap();
    assert_eq!(means("x:dev"), Some(pulled.digest));
    assert_eq!(means(local), None);
}

#[test]
fn pruning_takes_what_has_no_name() {
    let (_dir, store) = scratch();
    let old = add(&store, "q.io/a", "1");
    let new = add(&store, "q.io/a", "2");
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed[1].references.is_empty(),
        "images without a name come last"
    );
    let damaged = store.root.join("images").join("damaged.json");
    fs::write(&damaged, "{").unwrap();
    let (gone, freed) = store.prune(|image| image.references.is_empty()).unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].entry.digest, old.digest);
    assert!(freed > 0);
    assert!(!damaged.exists());
    store.verify_all(&new).unwrap();
    assert!(is_damaged(&store.verify(old.object)));
}
