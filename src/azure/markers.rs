//! Lists come in pages, each with the marker of the next one. This is the one place where markers are followed.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_128;

use super::failure::Failure;

/// The way through the pages of one list. A page without entries is no end: only one without a marker is.
#[derive(Default)]
pub(super) struct Markers {
    /// The marker of the next page; empty for the first one.
    next: String,
    over: bool,
    seen: HashSet<u128>,
}

impl Markers {
    /// The marker of the page to ask for, empty for the first one. None after the last page.
    pub(super) fn next(&self) -> Option<&str> {
        (!self.over).then_some(self.next.as_str())
    }

    /// Takes over the marker that came with a page.
    ///
    /// # Errors
    /// It came before: the list would never end.
    pub(super) fn turn(&mut self, list: &str, next: Option<String>) -> Result<(), Failure> {
        match next {
            None => self.over = true,
            Some(next) if self.seen.insert(xxh3_128(next.as_bytes())) => self.next = next,
            Some(_) => return Err(Failure::unexpected(list, "its pages go in a circle")),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_to_the_end_and_not_in_a_circle() {
        let mut markers = Markers::default();
        assert_eq!(markers.next(), Some(""));
        for marker in ["a", "b"] {
            markers.turn("list", Some(marker.to_owned())).unwrap();
            assert_eq!(markers.next(), Some(marker));
        }
        let error = markers.turn("list", Some("a".to_owned())).unwrap_err().to_string();
        assert!(error.contains("list") && error.contains("circle"), "{error}");
        markers.turn("list", None).unwrap();
        assert_eq!(markers.next(), None);
    }
}
