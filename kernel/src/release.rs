//! Which kernel runs, by its own word.

/// Since when the memory of programs and maps counts for their control group, and no limit of the
/// process stands against them.
pub(crate) const NO_MEMLOCK_LIMIT: (u32, u32) = (5, 11);

/// Its release, such as `6.1.0-13-cloud-amd64`; None where that is no text.
pub(crate) fn name() -> Option<String> {
    rustix::system::uname()
        .release()
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// The first two numbers of a release.
pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether it is of a version or later. False where it does not say.
pub(crate) fn is_since(wanted: (u32, u32)) -> bool {
    name().and_then(|release| version(&release)) >= Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(version("6.1.0-13-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.12.107+deb13"), Some((6, 12)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("next"), None);
    }
}
