//! The name that was probably meant, where the one that was asked for is not there.

/// So many names are compared with one that was not found.
const COMPARED: usize = 50_000;

/// The name that is nearest to one that may not be there.
pub(super) struct Nearest {
    /// None where it makes no sense: of patterns.
    wanted: Option<String>,
    best: Option<(usize, String)>,
    compared: usize,
    last: String,
}

impl Nearest {
    /// To compare names with, if it makes sense.
    pub(super) fn to(wanted: Option<String>) -> Self {
        Self { wanted, best: None, compared: 0, last: String::new() }
    }

    /// Compares one of the names that there are.
    pub(super) fn compare(&mut self, name: &[u8]) {
        let Some(wanted) = &self.wanted else { return };
        if self.compared >= COMPARED {
            return;
        }
        let name = String::from_utf8_lossy(name);
        let depth = |text: &str| text.matches('/').count() + 1;
        let common = depth(wanted).min(depth(&name));
        let (here, there) = (cut(wanted, common), cut(&name, common));
        // Neighbours often lie in the same directory.
        if there == self.last {
            return;
        }
        there.clone_into(&mut self.last);
        // A directory on the way is worth less than the whole name.
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

    /// The nearest, if it is near at all.
    pub(super) fn found(&self) -> Option<&str> {
        let length = self.wanted.as_ref()?.chars().count();
        self.best.as_ref().filter(|(distance, _)| *distance <= 2 + length / 4).map(|(_, name)| name.as_str())
    }
}

/// The first parts of a path.
fn cut(path: &str, parts: usize) -> &str {
    path.match_indices('/').nth(parts.saturating_sub(1)).map_or(path, |(end, _)| &path[..end])
}
