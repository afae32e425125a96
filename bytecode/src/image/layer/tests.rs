use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use super::*;

/// Limit for objects in these tests, in bytes.
const MAX: u64 = 64 << 10;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header
}

/// Sets a name that [`Header::set_path`] would refuse.
fn set_name(header: &mut Header, name: &str) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
}

/// A tar of entries with a kind, a name and content.
fn tar(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = header(*kind, content.len() as u64);
        set_name(&mut header, name);
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn file(name: &str) -> (EntryType, &str, &[u8]) {
    (EntryType::Regular, name, b"content")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(bytes, level)
}

fn extract(layer: &[u8]) -> Result<(String, Vec<u8>), ImageError> {
    let mut out = Vec::new();
    let name = super::extract(layer, MAX, &mut out)?;
    Ok((name, out))
}

fn refused(entries: &[(EntryType, &str, &[u8])]) -> ImageError {
    extract(&tar(entries)).expect_err("it must be refused")
}

#[test]
fn the_object_comes_out_of_every_compression() {
    let plain = tar(&[(EntryType::Directory, "./", b""), file("./prog.o")]);
    let wanted = ("prog.o".to_owned(), b"content".to_vec());
    assert_eq!(extract(&plain).unwrap(), wanted);
    assert_eq!(extract(&gzip(&plain)).unwrap(), wanted);
    assert_eq!(extract(&zstd(&plain)).unwrap(), wanted);
    let (head, tail) = plain.split_at(700);
    assert_eq!(extract(&[gzip(head), gzip(tail)].concat()).unwrap(), wanted);
    let skipped = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let frames = [&skipped[..], &zstd(head), &skipped, &zstd(tail)].concat();
    assert_eq!(extract(&frames).unwrap(), wanted);
}

#[test]
fn media_types_of_layers_are_known() {
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
    ] {
        assert!(check_type(media_type).is_ok(), "{media_type}");
    }
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar+encrypted",
        "application/vnd.in-toto+json",
        "",
    ] {
        assert!(
            matches!(check_type(media_type), Err(ImageError::LayerType { .. })),
            "{media_type}"
        );
    }
}

#[test]
fn paths_out_of_the_layer_are_refused() {
    for name in ["../x.o", "a/../../x.o", "/x.o", "..", "x/.."] {
        let error = refused(&[file(name)]);
        assert!(
            matches!(error, ImageError::Traversal { .. }),
            "{name}: {error}"
        );
    }
    let error = refused(&[file("a/x.o")]);
    assert!(matches!(error, ImageError::NotAtRoot { .. }), "{error}");
}

#[test]
fn only_files_are_taken() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'?'),
    ] {
        let error = refused(&[(kind, "x.o", b"")]);
        assert!(
            matches!(error, ImageError::EntryKind { .. }),
            "{kind:?}: {error}"
        );
        let error = refused(&[file("x.o"), (kind, "y.o", b"")]);
        assert!(
            matches!(error, ImageError::EntryKind { .. }),
            "{kind:?}: {error}"
        );
    }
}

#[test]
fn there_is_one_file() {
    assert!(matches!(refused(&[]), ImageError::NoObject));
    let folder = (EntryType::Directory, "x.o/", &b""[..]);
    assert!(matches!(refused(&[folder]), ImageError::NoObject));
    let error = refused(&[file("a.o"), file("b.o")]);
    let ImageError::SeveralObjects { first, second } = error else {
        panic!("{error}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("a.o", "b.o"));
}

#[test]
fn long_names_are_read_within_bounds() {
    let name = "n".repeat(150) + ".o";
    let long = (EntryType::GNULongName, "././@LongLink", name.as_bytes());
    let (found, _) = extract(&tar(&[long, file("short")])).unwrap();
    assert_eq!(found, name);
    let hidden = (EntryType::GNULongName, "././@LongLink", &b"../x.o\0"[..]);
    let error = refused(&[hidden, file("short")]);
    assert!(matches!(error, ImageError::Traversal { .. }), "{error}");
    let endless = vec![b'n'; 5000];
    let endless = (EntryType::GNULongName, "././@LongLink", &endless[..]);
    let error = refused(&[endless, file("short")]);
    assert!(matches!(error, ImageError::Layer { .. }), "{error}");
}

#[test]
fn extended_headers_are_read() {
    let pax = |text: &'static [u8]| (EntryType::XHeader, "pax", text);
    let global = (EntryType::XGlobalHeader, "pax", &b"16 path=ignored\n"[..]);
    let (name, _) = extract(&tar(&[global, pax(b"12 path=p.o\n"), file("short")])).unwrap();
    assert_eq!(name, "p.o");
    let (name, _) = extract(&tar(&[
        pax(b"10 size=7\n24 SCHILY.xattr.x=a\n=b\0\n"),
        file("short"),
    ]))
    .unwrap();
    assert_eq!(name, "short");
    for text in [&b"11 size=70\n"[..], b"22 GNU.sparse.major=1\n"] {
        let error = refused(&[pax(text), file("short")]);
        assert!(matches!(error, ImageError::EntryKind { .. }), "{error}");
    }
    for text in [
        &b"9 size=70\n"[..],
        b"99 size=7\n",
        b"x size=7\n",
        b"0 a=b\n",
        b"7 a=bcd",
    ] {
        let error = refused(&[pax(text), file("short")]);
        assert!(matches!(error, ImageError::Layer { .. }), "{error}");
    }
    let error = refused(&[pax(b"15 path=../p.o\n"), file("short")]);
    assert!(matches!(error, ImageError::Traversal { .. }), "{error}");
}

#[test]
fn objects_have_a_limit() {
    let large = vec![0; usize::try_from(MAX).unwrap() + 1];
    let error = refused(&[(EntryType::Regular, "x.o", &large)]);
    assert!(
        matches!(error, ImageError::ObjectTooLarge { size, limit: MAX } if size == MAX + 1),
        "{error}"
    );
    let fits = &large[1..];
    assert!(extract(&tar(&[(EntryType::Regular, "x.o", fits)])).is_ok());
}

#[test]
fn bombs_end_early() {
    let large = vec![0; 4 << 20];
    for name in ["x/", "x.o"] {
        // In a folder's entry, behind the object, and behind the end of the archive.
        let folder = tar(&[(EntryType::Directory, name, &large), file("y.o")]);
        for bomb in [gzip(&folder), zstd(&folder)] {
            let error = extract(&bomb).unwrap_err();
            assert!(matches!(error, ImageError::Bomb { .. }), "{error}");
        }
    }
    let behind = [tar(&[file("x.o")]), large].concat();
    let error = extract(&gzip(&behind)).unwrap_err();
    assert!(matches!(error, ImageError::Bomb { .. }), "{error}");
}

#[test]
fn a_frame_cannot_ask_for_much_memory() {
    // A frame header with a window of 2 GiB (RFC 8878, 3.1.1.1.2), and an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    let error = extract(&frame).unwrap_err();
    assert!(matches!(error, ImageError::Layer { .. }), "{error}");
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let content: Vec<u8> = (0_u32..9000).flat_map(|n| (n * n).to_le_bytes()).collect();
    let plain = tar(&[(EntryType::Regular, "x.o", &content)]);
    for layer in [gzip(&plain), zstd(&plain)] {
        for cut in [0, 1, 5, 20, layer.len() / 2, layer.len() - 1] {
            assert!(extract(&layer[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = layer.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        assert!(extract(&flipped).is_err());
    }
    for cut in [1, 100, 600, 5000] {
        assert!(extract(&plain[..cut]).is_err(), "cut at {cut}");
    }
    let mut header = plain.clone();
    header[3] ^= 1;
    assert!(matches!(extract(&header), Err(ImageError::Layer { .. })));
    let mut size = plain;
    size[124..136].copy_from_slice(b"7777777777x\0");
    assert!(extract(&size).is_err());
}
