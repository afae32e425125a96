//! Remarks of the libraries, as lines on stderr.

use std::io::{self, Write as _};

use log::{Level, LevelFilter, Log, Metadata, Record};
use manager::report;

struct Stderr;

static STDERR: Stderr = Stderr;

/// What to call a remark of this level.
const fn label(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "note",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && report::is_harmless(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // A closed stderr must not stop what the command is doing.
            let text = report::one_paragraph(&record.args().to_string());
            let _ = writeln!(io::stderr(), "{}: {text}", label(record.level()));
        }
    }

    fn flush(&self) {}
}

/// The most that is shown after `-v` so many times, or `-q`.
pub(crate) const fn threshold(verbose: u8, quiet: bool) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Warn,
        (false, 1) => LevelFilter::Info,
        (false, 2) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    }
}

/// Shows remarks from now on.
pub(crate) fn start(verbose: u8, quiet: bool) {
    if log::set_logger(&STDERR).is_ok() {
        log::set_max_level(threshold(verbose, quiet));
    }
}
