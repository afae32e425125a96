//! What is worth another attempt, and when.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, RandomState},
    thread,
    time::{Duration, SystemTime},
};

use ureq::http::{HeaderMap, header};

use super::super::{Event, ImageError, Progress};

/// The longest time that a registry may make us wait. After it, the user decides.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The first wait where a registry says nothing; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Attempts that are left, for all steps of one pull together.
pub(super) struct Retries {
    attempts: u32,
    left: Cell<u32>,
    wait: Cell<Duration>,
}

impl Retries {
    pub(super) fn new(attempts: u32) -> Self {
        Self {
            attempts,
            left: Cell::new(attempts.saturating_sub(1)),
            wait: Cell::new(FIRST_WAIT),
        }
    }

    /// Waits before another attempt where one may help, or gives the error back.
    pub(super) fn after(
        &self,
        error: ImageError,
        progress: &Progress<'_>,
    ) -> Result<(), ImageError> {
        match error {
            ImageError::Cut { .. } => self.wait(error, None, progress),
            ImageError::Unreachable { ref source, .. }
                if source
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(super::http::is_broken) =>
            {
                self.wait(error, None, progress)
            }
            error => Err(error),
        }
    }

    /// Waits before another attempt, or gives the error back where none is left.
    pub(super) fn wait(
        &self,
        error: ImageError,
        asked: Option<Duration>,
        progress: &Progress<'_>,
    ) -> Result<(), ImageError> {
        if asked.is_some_and(|asked| asked > LONGEST_WAIT) || self.attempts <= 1 {
            return Err(error);
        }
        if self.left.get() == 0 {
            return Err(ImageError::GaveUp {
                attempts: self.attempts,
                source: Box::new(error),
            });
        }
        self.left.set(self.left.get() - 1);
        let own = self.wait.replace(self.wait.get() * 2);
        let wait = asked.unwrap_or_else(|| own + own.mul_f64(jitter()));
        log::info!("{error}: trying again in {:.1} s", wait.as_secs_f64());
        progress(Event::Waiting { wait });
        thread::sleep(wait);
        Ok(())
    }
}

/// From 0 to 0.25, so that many machines do not come back at the same moment.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0);
    #[expect(clippy::cast_precision_loss, reason = "any value will do")]
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    share / 4.0
}

/// What `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        assert_eq!(header("7"), Some(Duration::from_secs(7)));
        let soon = SystemTime::now() + Duration::from_secs(20);
        let wait = header(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((18..=20).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(
            header("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(header("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn attempts_end() {
        let retries = Retries::new(2);
        let cut = || ImageError::Cut {
            what: "layer",
            wanted: Some(2),
            got: 1,
        };
        let waits = Cell::new(0);
        let progress = |event: Event| {
            if matches!(event, Event::Waiting { .. }) {
                waits.set(waits.get() + 1);
            }
        };
        assert!(retries.wait(cut(), Some(Duration::ZERO), &progress).is_ok());
        assert!(matches!(
            retries.wait(cut(), Some(Duration::ZERO), &progress),
            Err(ImageError::GaveUp { attempts: 2, .. })
        ));
        let once = Retries::new(1).wait(cut(), None, &progress);
        assert!(matches!(once, Err(ImageError::Cut { .. })));
        assert_eq!(waits.get(), 1);
        let patient = Retries::new(9);
        assert!(
            patient
                .wait(cut(), Some(Duration::from_secs(61)), &progress)
                .is_err()
        );
        assert!(patient.after(ImageError::NotStored, &progress).is_err());
    }
}
