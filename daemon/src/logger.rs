//! Remarks as lines on stderr, which is the journal where systemd runs the daemon.

use std::{
    env,
    io::{self, Write as _},
    sync::OnceLock,
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use manager::report;

#[derive(Debug)]
struct Stderr {
    /// The journal wants the level as a number in front (sd-daemon(3)), and lines of their own.
    journal: bool,
}

const fn prefix(level: Level, journal: bool) -> &'static str {
    match (level, journal) {
        (Level::Error, true) => "<3>",
        (Level::Error, false) => "error: ",
        (Level::Warn, true) => "<4>",
        (Level::Warn, false) => "warning: ",
        (Level::Info, true) => "<6>",
        (Level::Info, false) => "note: ",
        (_, true) => "<7>",
        (_, false) => "debug: ",
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && report::is_harmless(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let prefix = prefix(record.level(), self.journal);
        let mut text = report::one_paragraph(&record.args().to_string());
        if self.journal {
            text = text.replace('\n', &format!("\n{prefix}"));
        }
        // In one piece: stderr has no buffer, and each write may wake somebody. A closed one must
        // not stop what the daemon is doing.
        let _ = io::stderr().write_all(format!("{prefix}{text}\n").as_bytes());
    }

    fn flush(&self) {}
}

/// Shows remarks from now on.
pub(crate) fn start(verbose: u8, quiet: bool) {
    static STDERR: OnceLock<Stderr> = OnceLock::new();
    let logger = STDERR.get_or_init(|| Stderr {
        journal: env::var_os("JOURNAL_STREAM").is_some(),
    });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(match (quiet, verbose) {
            (true, _) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        });
    }
}
