use std::io;

use manager::report::{explain, write_log};
use model::ProgramId;

use crate::report::Failure;

#[derive(Debug, thiserror::Error)]
#[error("cannot use /x/a.o: {source}")]
struct Inline {
    source: Middle,
}

#[derive(Debug, thiserror::Error)]
#[error("it is no object file")]
struct Middle {
    source: io::Error,
}

#[test]
fn causes_are_said_once() {
    let source = io::Error::other("line 3\n  |\n3 | x\n");
    let mut text = String::new();
    let error = Inline {
        source: Middle { source },
    };
    explain(
        &mut text,
        "cannot load 'pass' as xdp",
        &error,
        Some("compile it first"),
    )
    .unwrap();
    insta::assert_snapshot!(text, @r"
    error: cannot load 'pass' as xdp: cannot use /x/a.o: it is no object file
    caused by: line 3
        |
      3 | x
    hint: compile it first
    ");
}

#[test]
fn every_failed_id_has_its_line() {
    let failed = |id| {
        let error = manager::Error::NoProgram(ProgramId(id));
        Failure::of(format!("cannot unload {id}"), error)
    };
    let mut stderr = Vec::new();
    Failure::Several(vec![failed(17), failed(18)])
        .print(&mut stderr)
        .unwrap();
    insta::assert_snapshot!(String::from_utf8(stderr).unwrap(), @r"
    error: cannot unload 17: no program with id 17 is loaded
    error: cannot unload 18: no program with id 18 is loaded
    ");
}

#[test]
fn a_loaded_program_is_named_when_it_cannot_be_shown() {
    let error = io::Error::from(io::ErrorKind::StorageFull);
    let text = Failure::Shown {
        id: ProgramId(7),
        error,
    }
    .to_string();
    insta::assert_snapshot!(text, @"error: program 7 is loaded, but its state cannot be shown: no storage space");
}

/// What the verifier says of a program that reads behind the packet, in as many instructions.
fn log(instructions: usize) -> String {
    let steps: Vec<_> = (0..instructions)
        .map(|n| format!("{n}: (07) r2 += 1"))
        .collect();
    let steps = steps.join(
        "
",
    );
    format!(
        "{steps}\ninvalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)\nR1 offset is outside \
         of the packet\nprocessed {instructions} insns (limit 1000000)\n\n"
    )
}

#[test]
fn the_end_of_a_log_is_shown() {
    let mut text = String::new();
    write_log(&mut text, &log(40), false).unwrap();
    insta::assert_snapshot!(text, @r"
    verifier log (31 lines left out, --verifier-log shows them):
      31: (07) r2 += 1
      32: (07) r2 += 1
      33: (07) r2 += 1
      34: (07) r2 += 1
      35: (07) r2 += 1
      36: (07) r2 += 1
      37: (07) r2 += 1
      38: (07) r2 += 1
      39: (07) r2 += 1
      invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)
      R1 offset is outside of the packet
      processed 40 insns (limit 1000000)
    ");
}

#[test]
fn a_whole_log_on_request_or_when_short() {
    for (instructions, whole) in [(40, true), (9, false)] {
        let mut text = String::new();
        write_log(&mut text, &log(instructions), whole).unwrap();
        assert!(text.starts_with("verifier log:\n  0: (07)"), "{text}");
        assert_eq!(text.lines().count(), 1 + instructions + 3);
    }
    let mut text = String::new();
    write_log(&mut text, &log(10), false).unwrap();
    assert!(text.starts_with("verifier log (1 line left out, --verifier-log shows it):\n  1:"));
}
