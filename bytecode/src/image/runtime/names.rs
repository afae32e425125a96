//! What an image may be called in a runtime.

use model::ImageReference;

/// Fewer digits of an image id would be words.
const SHORTEST_ID: usize = 6;

/// An image's names, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// As it was typed, for a runtime that completes names as Docker does.
    pub(super) typed: String,
    /// In full: `localhost/…` for what was built here, then `docker.io/…`; or the one that was
    /// typed.
    pub(super) full: Vec<String>,
    /// The digits that an image id may begin with.
    pub(super) id: Option<String>,
}

impl Names {
    pub(super) fn of(reference: &ImageReference) -> Self {
        let typed = reference.to_string();
        let digits = typed.strip_prefix("sha256:").unwrap_or(&typed);
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = (SHORTEST_ID..=64).contains(&digits.len()) && digits.bytes().all(hex);
        Self {
            // A tag beside a digest says nothing, and Docker does not take both.
            typed: match (typed.split_once('@'), reference.tag()) {
                (Some((name, digest)), Some(tag)) => {
                    let name = name.strip_suffix(&format!(":{tag}")).unwrap_or(name);
                    format!("{name}@{digest}")
                }
                _ => typed.clone(),
            },
            full: reference.local_names(),
            id: is_id.then(|| digits.to_owned()),
        }
    }

    /// The full name by which an image of this rank was found; one that was found by its id is
    /// called as a registry would call it.
    pub(super) fn of_rank(&self, rank: usize) -> String {
        let name = self.full.get(rank).or(self.full.last());
        name.cloned().unwrap_or_default()
    }

    /// How well an image fits, best first: by one of its names, by one of its digests in one of
    /// its repositories, or by its id.
    pub(super) fn rank<'n>(
        &self,
        names: impl IntoIterator<Item = &'n String>,
        digests: &[&str],
        ids: &[&str],
    ) -> Option<usize> {
        let position = |name: &str| self.full.iter().position(|full| full == name);
        let by_name = names.into_iter().filter_map(|name| {
            let in_repository = digests
                .iter()
                .filter_map(|digest| position(&format!("{}@{digest}", repository(name))));
            position(name).into_iter().chain(in_repository).min()
        });
        let by_id = || {
            let digits = self.id.as_ref()?;
            let is_meant = |id: &&str| {
                let id = id.strip_prefix("sha256:").unwrap_or(id);
                id.starts_with(digits.as_str())
            };
            ids.iter().any(is_meant).then_some(usize::MAX)
        };
        by_name.min().or_else(by_id)
    }
}

/// A name without tag and digest.
fn repository(name: &str) -> &str {
    let bare = name.split_once('@').map_or(name, |(bare, _)| bare);
    let last = bare.rfind('/').unwrap_or_default();
    let colon = bare[last..].find(':');
    colon.map_or(bare, |colon| &bare[..last + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(typed: &str) -> Names {
        Names::of(&typed.parse().unwrap())
    }

    #[test]
    fn short_names_are_completed_as_podman_does() {
        assert_eq!(
            names("x:dev").full,
            ["localhost/x:dev", "docker.io/library/x:dev"]
        );
        assert_eq!(
            names("me/x").full,
            ["localhost/me/x:latest", "docker.io/me/x:latest"]
        );
        assert_eq!(names("localhost/x").full, ["localhost/x:latest"]);
        assert_eq!(names("quay.io/a/x:1").full, ["quay.io/a/x:1"]);
        assert_eq!(
            names("index.docker.io/x").full,
            ["docker.io/library/x:latest"]
        );
    }

    #[test]
    fn digests_decide() {
        let hex = "0".repeat(64);
        let both = names(&format!("me/x:1@sha256:{hex}"));
        assert_eq!(both.typed, format!("me/x@sha256:{hex}"));
        assert_eq!(both.full[1], format!("docker.io/me/x@sha256:{hex}"));
        assert_eq!(both.id, None);
    }

    #[test]
    fn images_are_ranked() {
        let hex = format!("sha256:{}", "0".repeat(64));
        let rank = |typed: &str, held: &str, digests: &[&str]| {
            names(typed).rank([&held.to_owned()], digests, digests)
        };
        assert_eq!(rank("x:dev", "localhost/x:dev", &[]), Some(0));
        assert_eq!(rank("x:dev", "docker.io/library/x:dev", &[]), Some(1));
        assert_eq!(rank("x:dev", "quay.io/x:dev", &[&hex]), None);
        assert_eq!(rank("000000000000", "a/x:1", &[&hex]), Some(usize::MAX));
        let by_digest = format!("h:5000/a@{hex}");
        assert_eq!(rank(&by_digest, "h:5000/a:1", &[&hex]), Some(0));
        assert_eq!(rank(&by_digest, "h:5000/b:1", &[&hex]), None);
        assert_eq!(rank(&by_digest, "h:5000/a:1", &[]), None);
    }

    #[test]
    fn ids_are_digits() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(names(&format!("sha256:{hex}")).id, Some(hex.clone()));
        assert_eq!(names(&hex).id, Some(hex));
        assert_eq!(names("0123456789ab").id.as_deref(), Some("0123456789ab"));
        for name in ["beef", "xdp_pass", "0123456789ab:v1", "a/0123456789ab"] {
            assert_eq!(names(name).id, None, "{name}");
        }
    }
}
