//! "Did you mean": the nearest of many names, one at a time.

/// Keeps the candidate that is nearest to a name that was not found.
#[derive(Debug)]
pub(crate) struct Nearest<'a> {
    wanted: &'a str,
    letters: [i16; 64],
    limit: usize,
    best: Option<String>,
}

impl<'a> Nearest<'a> {
    pub(crate) fn new(wanted: &'a str) -> Self {
        Self {
            wanted,
            letters: letters(wanted),
            // One slip in a short name, more in a long one; beyond that it is another name.
            limit: (wanted.len() / 3).clamp(1, 4),
            best: None,
        }
    }

    /// Offers a name. Of equally near ones the first stays.
    pub(crate) fn offer(&mut self, candidate: &str) {
        // The comparison is quadratic: what cannot be near is left out by cheaper means first.
        if candidate == self.wanted
            || candidate.len().abs_diff(self.wanted.len()) > self.limit
            || self.letters_apart(candidate) > self.limit
        {
            return;
        }
        let distance = strsim::osa_distance(self.wanted, candidate);
        if distance <= self.limit {
            self.best = Some(candidate.to_owned());
            // The next one has to be nearer.
            self.limit = distance.saturating_sub(1);
        }
    }

    /// The nearest name, None when none was near.
    pub(crate) fn finish(self) -> Option<String> {
        self.best
    }

    /// A lower bound of the edit distance: each edit takes one letter away, adds one, or both.
    fn letters_apart(&self, candidate: &str) -> usize {
        let (mut more, mut less) = (0_usize, 0_usize);
        for (ours, theirs) in self.letters.iter().zip(letters(candidate)) {
            let apart = usize::from(ours.abs_diff(theirs));
            if *ours > theirs {
                more += apart;
            } else {
                less += apart;
            }
        }
        more.max(less)
    }
}

fn letters(name: &str) -> [i16; 64] {
    let mut counts = [0_i16; 64];
    for byte in name.bytes() {
        let count = &mut counts[usize::from(byte % 64)];
        *count = count.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::Nearest;

    fn nearest(wanted: &str, candidates: &[&str]) -> Option<String> {
        let mut nearest = Nearest::new(wanted);
        for candidate in candidates {
            nearest.offer(candidate);
        }
        nearest.finish()
    }

    #[test]
    fn the_nearest_wins_and_the_first_of_equals() {
        let names = [
            "try_to_sleep",
            "try_to_wake_up",
            "try_to_wake",
            "tri_to_wake_up",
        ];
        assert_eq!(
            nearest("try_to_wakeup", &names).as_deref(),
            Some("try_to_wake_up")
        );
        assert_eq!(
            nearest("mallco", &["mallop", "malloc", "alloc"]).as_deref(),
            Some("malloc")
        );
        assert_eq!(nearest("aab", &["aac", "aad"]).as_deref(), Some("aac"));
    }

    #[test]
    fn another_name_is_no_suggestion() {
        assert_eq!(nearest("open", &["close", "read", "splice_to_pipe"]), None);
        assert_eq!(nearest("malloc", &["malloc"]), None);
        assert_eq!(nearest("", &["", "abc"]), None);
    }

    #[test]
    fn letters_beyond_ascii() {
        assert_eq!(
            nearest("größe", &["grösse", "größ"]).as_deref(),
            Some("größ")
        );
    }
}
