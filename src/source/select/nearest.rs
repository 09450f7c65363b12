//! The most similar existing name, for a name that was not found.

/// The maximum number of names that are compared with a name that was not found.
const COMPARED: usize = 50_000;

/// The most similar name for one that may not exist.
pub(super) struct Nearest {
    /// None for patterns.
    wanted: Option<String>,
    best: Option<(usize, String)>,
    compared: usize,
    last: String,
}

impl Nearest {
    /// For comparing names, unless the argument is a pattern.
    pub(super) fn to(wanted: Option<String>) -> Self {
        Self { wanted, best: None, compared: 0, last: String::new() }
    }

    /// Compares one of the existing names.
    pub(super) fn compare(&mut self, name: &[u8]) {
        let Some(wanted) = &self.wanted else { return };
        if self.compared >= COMPARED {
            return;
        }
        let name = String::from_utf8_lossy(name);
        let depth = |text: &str| text.matches('/').count() + 1;
        let common = depth(wanted).min(depth(&name));
        let (here, there) = (cut(wanted, common), cut(&name, common));
        // Consecutive names are often in the same directory.
        if there == self.last {
            return;
        }
        there.clone_into(&mut self.last);
        // A matching parent directory counts less than the full name.
        let missing = 2 * (depth(wanted) - common);
        let best = self.best.as_ref().map_or(usize::MAX, |(best, _)| *best);
        if here.len().abs_diff(there.len()) + missing >= best {
            return;
        }
        self.compared += 1;
        let distance = strsim::damerau_levenshtein(here, there) + missing;
        if distance < best {
            self.best = Some((distance, there.to_owned()));
        }
    }

    /// The most similar name, if it is similar enough.
    pub(super) fn found(&self) -> Option<&str> {
        let length = self.wanted.as_ref()?.chars().count();
        self.best.as_ref().filter(|(distance, _)| *distance <= 2 + length / 4).map(|(_, name)| name.as_str())
    }
}

/// The first parts of a path.
fn cut(path: &str, parts: usize) -> &str {
    path.match_indices('/').nth(parts.saturating_sub(1)).map_or(path, |(end, _)| &path[..end])
}
