//! What is found in real objects.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code, reason = "not every test file uses all of it")]
mod common;

use std::collections::BTreeSet;

use bytecode::{Endianness, Error, Machine, Object, Patch};
use common::{bytes, object};
use model::{Attach, Direction, Kind, Misfit, NetAttach, ProceedOn};

fn net() -> NetAttach {
    NetAttach {
        iface: "eth1".into(),
        netns: None,
        priority: 50,
    }
}

fn xdp() -> Attach {
    Attach::Xdp {
        net: net(),
        proceed_on: ProceedOn::XDP_DEFAULT,
    }
}

fn tc(direction: Direction) -> Attach {
    Attach::Tc {
        net: net(),
        direction,
        proceed_on: ProceedOn::TC_DEFAULT,
    }
}

fn kprobe() -> Attach {
    Attach::Kprobe {
        fn_name: "do_unlinkat".into(),
        offset: 0,
        retprobe: false,
    }
}

fn names(object: &Object) -> Vec<(&str, &str)> {
    object
        .programs()
        .iter()
        .map(|program| (program.name(), program.section()))
        .collect()
}

fn maps(object: &Object, program: &str) -> Vec<String> {
    let program = object
        .programs()
        .iter()
        .find(|p| p.name() == program)
        .unwrap();
    object.maps_of(program).into_iter().collect()
}

#[test]
fn entry_functions_are_programs_and_subprograms_are_not() {
    assert_eq!(
        names(&object("test/calls.bpf.o")),
        [
            ("calls_xdp", "xdp"),
            ("calls_tc", "tc"),
            ("calls_tracepoint", "tracepoint/syscalls/sys_enter_openat"),
        ]
    );
}

#[test]
fn license_and_digest_are_those_of_the_file() {
    let object = object("test/old_maps.bpf.o");
    assert_eq!(object.license(), Some("Dual BSD/GPL"));
    let said = std::process::Command::new("sha256sum")
        .arg(common::path("test/old_maps.bpf.o"))
        .output()
        .unwrap();
    // The digest is of the file, although the definitions of its maps were rewritten.
    assert_eq!(
        object.digest(),
        String::from_utf8(said.stdout)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
    );
    assert_ne!(object.bytes(), bytes("test/old_maps.bpf.o"));
}

#[test]
fn objects_that_need_no_change_keep_their_bytes() {
    let (object, bytes) = (object("test/maps_xdp.bpf.o"), bytes("test/maps_xdp.bpf.o"));
    assert_eq!(object.bytes(), bytes);
}

#[test]
fn func_info_tells_what_can_join_a_chain() {
    for (name, has) in [
        ("test/calls.bpf.o", true),
        ("test/old_maps.bpf.o", true),
        ("test/xdp_nobtf.bpf.o", false),
    ] {
        assert!(
            object(name)
                .programs()
                .iter()
                .all(|p| p.has_func_info() == has),
            "{name}"
        );
    }
    // Rewriting adds BTF for maps; it does not describe the function.
    assert!(!object("test/old_maps_nobtf.bpf.o").programs()[0].has_func_info());
}

#[test]
fn core_relocations_are_seen() {
    assert!(object("test/core.bpf.o").has_core_relocations());
    assert!(!object("test/calls.bpf.o").has_core_relocations());
    assert!(!object("test/xdp_nobtf.bpf.o").has_core_relocations());
}

#[test]
fn a_program_is_chosen_by_name_or_as_the_only_one_that_fits() {
    let object = object("test/several.bpf.o");
    assert_eq!(
        object.choose(Some("second"), &xdp()).unwrap().name(),
        "second"
    );
    assert_eq!(
        object.choose(None, &tc(Direction::Ingress)).unwrap().name(),
        "only_tc"
    );

    let error = object.choose(None, &xdp()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 programs fit 'xdp', and no name says which one"
    );
    assert_eq!(error.hint().unwrap(), "choose one by name: first, second");

    let error = object.choose(None, &kprobe()).unwrap_err();
    assert_eq!(error.to_string(), "no program fits 'kprobe'");
    assert_eq!(
        error.hint().unwrap(),
        "the object has: first (xdp), second (xdp), only_tc (tc)"
    );
}

#[test]
fn a_misspelt_name_is_put_right() {
    let object = object("test/several.bpf.o");
    let error = object.choose(Some("secnod"), &xdp()).unwrap_err();
    assert_eq!(error.to_string(), "no program named 'secnod'");
    assert_eq!(
        error.hint().unwrap(),
        "did you mean 'second'? the object has: first, second, only_tc"
    );
    // The section in place of the function.
    let error = object
        .choose(Some("tc"), &tc(Direction::Ingress))
        .unwrap_err();
    assert!(
        error.hint().unwrap().starts_with("did you mean 'only_tc'?"),
        "{error:?}"
    );
    let error = object.choose(Some("zzz"), &xdp()).unwrap_err();
    assert_eq!(
        error.hint().unwrap(),
        "the object has: first, second, only_tc"
    );
}

#[test]
fn a_section_that_contradicts_is_refused() {
    let object = object("test/several.bpf.o");
    let error = object.choose(Some("first"), &kprobe()).unwrap_err();
    assert!(matches!(
        &error,
        Error::Misfit {
            kind: Kind::Kprobe,
            misfit: Misfit::OtherKind(Kind::Xdp),
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "program 'first' is in section 'xdp', which makes it 'xdp', not 'kprobe'"
    );
    assert_eq!(error.hint().unwrap(), "load it as 'xdp'");
}

#[test]
fn the_only_program_of_an_object_is_said_to_contradict() {
    let object = object("test/old_maps.bpf.o");
    let error = object.choose(None, &kprobe()).unwrap_err();
    assert!(matches!(error, Error::Misfit { .. }), "{error:?}");
}

#[test]
fn maps_are_those_that_a_program_reaches() {
    let object = object("test/reach.bpf.o");
    assert_eq!(
        maps(&object, "through_calls"),
        ["by_global", "by_static", "direct"]
    );
    assert_eq!(maps(&object, "through_callback"), ["by_callback"]);
    assert_eq!(maps(&object, "through_map"), [".rodata", "inner", "outer"]);
    assert_eq!(maps(&object, "through_nothing"), [""; 0]);
    assert_eq!(maps(&object, "keeps_unreached"), ["unreached"]);
}

#[test]
fn sections_of_variables_are_maps() {
    for name in ["test/globals.bpf.o", "test/globals_nobtf.bpf.o"] {
        assert_eq!(
            maps(&object(name), "globals"),
            [".bss", ".data", ".rodata", ".rodata.custom"],
            "{name}"
        );
    }
    assert_eq!(
        maps(&object("test/kconfig.bpf.o"), "kconfig"),
        [".kconfig", "version"]
    );
}

#[test]
fn initial_values_of_program_arrays_are_reached() {
    let object = object("test/tail_call.bpf.o");
    let entry = object.choose(Some("entry"), &xdp()).unwrap();
    let target = object.choose(Some("target"), &xdp()).unwrap();
    assert_eq!(maps(&object, "entry"), ["counter", "jumps"]);
    assert_eq!(object.tail_calls_of(entry), [target]);
    assert_eq!(maps(&object, "target"), ["counter"]);
    assert!(object.tail_calls_of(target).is_empty());
}

#[test]
fn maps_of_an_old_kind_are_found_however_they_are_referred_to() {
    let object = object("test/old_maps_mixed.bpf.o");
    assert_eq!(
        maps(&object, "use_all"),
        ["first", "lone", "modern", "second", "visible"]
    );
    assert_eq!(maps(&object, "use_second"), ["second"]);
    assert_eq!(
        maps(
            &self::object("test/old_maps_static_nobtf.bpf.o"),
            "use_second"
        ),
        ["second"]
    );
}

#[test]
fn globals_are_found_with_and_without_btf() {
    for name in ["test/globals.bpf.o", "test/globals_nobtf.bpf.o"] {
        let object = object(name);
        let found: BTreeSet<_> = object
            .globals()
            .iter()
            .map(|g| (g.name.as_str(), g.map.as_str(), g.size))
            .collect();
        assert_eq!(
            found,
            BTreeSet::from([
                ("global_u8", ".rodata", 1),
                ("global_u16", ".rodata", 2),
                ("global_u32", ".rodata", 4),
                ("global_u64", ".rodata", 8),
                ("global_struct", ".rodata", 8),
                ("global_array", ".rodata", 4),
                ("static_u32", ".rodata", 4),
                ("data_u32", ".data", 4),
                ("bss_u64", ".bss", 8),
                ("seen", ".bss", 96),
                ("custom_u32", ".rodata.custom", 4),
            ]),
            "{name}"
        );
    }
}

#[test]
fn a_patch_lies_where_the_variable_does() {
    let object = object("test/globals.bpf.o");
    let patch = object.patch("global_u32", &[0xaa; 4]).unwrap();
    assert_eq!(patch.map, ".rodata");
    assert_eq!(patch.value, [0xaa; 4]);
    // The value that the source gives, 0x33333333, is at that place of the section in the file.
    let file = bytes("test/globals.bpf.o");
    let whole: Vec<u8> = [0x11, 0, 0x22, 0x22, 0x33, 0x33, 0x33, 0x33].into();
    assert!(
        file.windows(8).any(|w| w == whole),
        "the layout of .rodata has changed"
    );
    assert_eq!(patch.offset, 4);
    assert_eq!(
        object.patch("custom_u32", &[1, 2, 3, 4]).unwrap(),
        Patch {
            map: ".rodata.custom".into(),
            offset: 0,
            value: vec![1, 2, 3, 4]
        }
    );
}

#[test]
fn wrong_variables_and_sizes_are_refused() {
    let object = object("test/globals.bpf.o");
    let error = object.patch("global_u23", &[0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "no global variable named 'global_u23'");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("did you mean 'global_u"), "{hint}");
    assert!(hint.contains("global_struct (8 bytes)"), "{hint}");
    let error = object.patch("global_u32", &[0; 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "global variable 'global_u32' has 4 bytes, and the value has 3"
    );
    assert_eq!(
        error.hint().unwrap(),
        "write 8 hex digits, in the byte order of this host"
    );
    let error = self::object("test/calls.bpf.o")
        .patch("nothing", &[0])
        .unwrap_err();
    assert!(matches!(error, Error::NoSuchGlobal { .. }));
}

fn refused(bytes: &[u8]) -> Error {
    Object::parse(bytes.to_vec()).unwrap_err()
}

#[test]
fn what_is_no_object_is_named() {
    assert_eq!(refused(b"").to_string(), "the file is empty");
    for (bytes, message) in [
        (&b"\x00\x01\x02"[..], "not an ELF file"),
        (
            b"BC\xc0\xde....",
            "not an ELF file (it looks like LLVM bitcode)",
        ),
        (
            b"\x1f\x8b\x08....",
            "not an ELF file (it looks like a gzip archive)",
        ),
        (
            b"// x\n#include <linux/bpf.h>\n",
            "not an ELF file (it looks like C source)",
        ),
        (b"hello\n", "not an ELF file (it looks like text)"),
    ] {
        assert_eq!(refused(bytes).to_string(), message);
    }
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(matches!(refused(&own), Error::NotBpf { machine: Machine(number) } if number != 247));
    let mut small = own;
    small[4] = 1;
    assert!(matches!(refused(&small), Error::Bits32 { .. }));
}

#[test]
fn the_other_byte_order_is_refused() {
    let error = refused(&bytes("test/xdp_bpfeb.bpf.o"));
    assert!(matches!(
        error,
        Error::Endianness {
            object: Endianness::Big,
            host: Endianness::Little
        }
    ));
    assert_eq!(
        error.to_string(),
        "a big-endian object, and this host is little-endian"
    );
}

#[test]
fn a_truncated_object_is_named_so() {
    let whole = bytes("test/calls.bpf.o");
    for length in [5, 63, 64, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]);
        assert!(
            matches!(error, Error::Truncated { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn an_object_linked_or_without_code_is_refused() {
    let mut linked = bytes("test/calls.bpf.o");
    linked[16] = 2;
    assert!(matches!(refused(&linked), Error::NotRelocatable));
    // Every section loses the flag of instructions.
    let mut data = bytes("test/calls.bpf.o");
    let headers = usize::try_from(u64::from_le_bytes(*data[40..].first_chunk().unwrap())).unwrap();
    for header in data[headers..].chunks_exact_mut(64) {
        header[8] &= !4;
    }
    let error = refused(&data);
    assert_eq!(error.to_string(), "the object contains no eBPF program");
}

#[test]
fn a_cut_definition_of_a_map_is_refused() {
    let mut cut = bytes("test/old_maps.bpf.o");
    let symbol = Object::parse(cut.clone()).unwrap();
    assert!(maps(&symbol, "old_maps").contains(&"counter".to_owned()));
    // The only symbols of 20 bytes are the definitions.
    let size = 20_u64.to_le_bytes();
    let at = (0..cut.len() - 8)
        .filter(|at| cut[*at..*at + 8] == size)
        .collect::<Vec<_>>();
    assert!(!at.is_empty());
    for at in at {
        cut[at] = 19;
    }
    let error = refused(&cut);
    assert!(
        matches!(error, Error::LegacyMap { size: 19, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("has 19 bytes, at least 20 are needed"),
        "{error}"
    );
}
