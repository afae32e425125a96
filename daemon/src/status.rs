//! Errors of the manager as gRPC has them.

use manager::{Error, ErrorKind, report::Report};
use tonic::{Code, Status};

/// Bytes of a message on the wire. Clients refuse headers of more than 8 KiB, and with them would
/// lose the code.
const MESSAGE: usize = 6 << 10;

/// The code for a kind of error.
pub(crate) const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Conflict => Code::FailedPrecondition,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Permission => Code::PermissionDenied,
        ErrorKind::Busy => Code::Unavailable,
        ErrorKind::External => Code::Aborted,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The code, and what the command line would print.
pub(crate) fn status(doing: &str, error: &Error) -> Status {
    let report = Report {
        doing,
        error,
        whole_log: false,
    };
    let text = report.to_string();
    let text = text.trim_end();
    Status::new(
        code(error.kind()),
        short(text.strip_prefix("error: ").unwrap_or(text)),
    )
}

/// What of a text fits, with what is not a letter or digit written as three bytes.
pub(crate) fn short(text: &str) -> String {
    let mut room = MESSAGE;
    let fits = text.char_indices().find_map(|(at, c)| {
        let size = if c.is_ascii_alphanumeric() {
            1
        } else {
            3 * c.len_utf8()
        };
        match room.checked_sub(size) {
            Some(rest) => {
                room = rest;
                None
            }
            None => Some(at),
        }
    });
    fits.map_or_else(|| text.to_owned(), |at| format!("{}…", &text[..at]))
}
