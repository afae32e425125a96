//! Bodies of answers, bounded in size and time.

use std::{
    io::{self, Read as _},
    time::{Duration, Instant},
};

use ureq::{Body, http::Response};

use super::{
    super::ImageError,
    http::{Http, is_broken},
};

/// How slow a registry may be, in bytes a second, once its time-out has passed.
pub(super) const SLOWEST: u64 = 4 << 10;

/// Whether a body comes fast enough. Each read has its own time-out, and a server that sends a byte
/// now and then would never meet it.
pub(super) struct Pace<'a> {
    http: &'a Http,
    start: Instant,
}

impl<'a> Pace<'a> {
    pub(super) fn new(http: &'a Http) -> Self {
        let start = Instant::now();
        Self { http, start }
    }

    pub(super) fn check(&self, received: u64) -> Result<(), ImageError> {
        let after = self.start.elapsed();
        let granted = self.http.timeout() + Duration::from_secs(received / SLOWEST);
        if after > granted {
            let host = self.http.host().to_owned();
            return Err(ImageError::TooSlow {
                host,
                received,
                after,
            });
        }
        Ok(())
    }
}

/// A body of at most `limit` bytes.
pub(super) fn read_bounded(
    http: &Http,
    answer: Response<Body>,
    limit: u64,
    what: &'static str,
) -> Result<Vec<u8>, ImageError> {
    let too_large = || ImageError::DocumentTooLarge { what, limit };
    let announced = answer.body().content_length();
    if announced.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let mut body = answer.into_body().into_reader();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let pace = Pace::new(http);
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_broken(&error) => {
                return Err(ImageError::Cut {
                    what,
                    wanted: announced,
                    got: bytes.len() as u64,
                });
            }
            Err(error) => return Err(http.failed(error.into(), "send")),
        };
        bytes.extend_from_slice(&buffer[..read]);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        pace.check(bytes.len() as u64)?;
    }
    Ok(bytes)
}
