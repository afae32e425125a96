//! Times, to the second: the kernel tells load times relative to boot, and no finer is of use.

use std::{
    fmt::Display,
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};

/// The whole second that a time is in; none outside of the years that a calendar has.
fn second(time: SystemTime) -> Option<DateTime<Utc>> {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok()?,
        Err(before) => -i64::try_from(before.duration().as_secs()).ok()? - 1,
    };
    DateTime::from_timestamp(seconds, 0)
}

/// As tables show it: `2023-07-17T17:20:14-0400`.
pub(super) fn local(time: SystemTime, zone: &impl TimeZone<Offset: Display>) -> String {
    second(time).map_or_else(
        || "unknown".into(),
        |time| {
            time.with_timezone(zone)
                .format("%Y-%m-%dT%H:%M:%S%z")
                .to_string()
        },
    )
}

/// As documents have it, the same on every machine (RFC 3339): `2023-07-17T21:20:14Z`.
pub(super) fn universal(time: SystemTime) -> Option<String> {
    second(time).map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}
