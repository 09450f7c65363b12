//! Lists come in pages, each with the marker of the next one. This is the one place where markers are followed.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_128;

use super::failure::Failure;

/// The maximum number of consecutive pages without entries. Azure sends some where it skips deleted entries.
pub(super) const MOST_EMPTY: u32 = 10_000;

/// The position in the pages of one list. A page without entries is not the end: only one without a marker is.
#[derive(Default)]
pub(super) struct Markers {
    /// The marker of the next page; empty for the first one.
    next: String,
    over: bool,
    seen: HashSet<u128>,
    /// Pages without entries in a row.
    empty: u32,
}

impl Markers {
    /// The marker of the page to ask for, empty for the first one. None after the last page.
    pub(super) fn next(&self) -> Option<&str> {
        (!self.over).then_some(self.next.as_str())
    }

    /// Stores the marker of a page with this number of entries.
    ///
    /// # Errors
    /// The marker repeats, or there were too many pages without entries: the list would not end.
    pub(super) fn turn(&mut self, list: &str, entries: usize, next: Option<String>) -> Result<(), Failure> {
        self.empty = if entries == 0 { self.empty + 1 } else { 0 };
        if next.is_some() && self.empty >= MOST_EMPTY {
            return Err(Failure::unexpected(list, without_entries()));
        }
        match next {
            None => self.over = true,
            Some(next) if self.seen.insert(xxh3_128(next.as_bytes())) => self.next = next,
            Some(_) => return Err(Failure::unexpected(list, "its pages repeat")),
        }
        Ok(())
    }
}

/// The error for a list with too many pages without entries.
pub(super) fn without_entries() -> String {
    format!("{MOST_EMPTY} pages in a row have no entries, and there are ever more of them")
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
            markers.turn("list", 0, Some(marker.to_owned())).unwrap();
            assert_eq!(markers.next(), Some(marker));
        }
        let error = markers.turn("list", 1, Some("a".to_owned())).unwrap_err().to_string();
        assert!(error.contains("list") && error.contains("its pages repeat"), "{error}");
        markers.turn("list", 0, None).unwrap();
        assert_eq!(markers.next(), None);
    }

    #[test]
    fn pages_without_entries_are_followed_but_not_for_ever() {
        let mut markers = Markers::default();
        let mut turn = |page: u32, entries| markers.turn("list", entries, Some(page.to_string()));
        for page in 0..3 * MOST_EMPTY {
            turn(page, usize::from(page % 9_999 == 0)).unwrap();
        }
        let begin = 3 * MOST_EMPTY;
        let error = (begin..begin + MOST_EMPTY).find_map(|page| turn(page, 0).err()).unwrap().to_string();
        assert!(error.contains("10000 pages in a row have no entries"), "{error}");
        assert!(markers.turn("list", 0, None).is_ok(), "the end is the end");
    }
}
