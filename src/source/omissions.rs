//! Unreadable objects, which are missing from a snapshot. There may be many: the first are named, the others counted.

use std::collections::BTreeSet;

use super::manifest::Omitted;

/// The object kind of the entry that stands for all unnamed blobs.
pub(crate) const BLOBS: &str = "blobs";
/// The same for files and directories.
pub(crate) const FILES: &str = "files";
/// The name of this entry. It must not depend on the number: accepted objects are identified by their name.
const OTHERS: &str = "(others)";
/// At most this many objects of one item are named in its manifest.
const NAMED: usize = 10_000;
/// Maximum total bytes of names and reasons.
const NAMED_BYTES: usize = 16 << 20;

/// Unreadable objects. Memory use and manifest size are bounded, and the selection of named objects does not depend on the
/// order in which they were found.
#[derive(Debug)]
pub(crate) struct Omissions {
    /// The kind of the unnamed objects: [`BLOBS`] or [`FILES`].
    plural: &'static str,
    named: BTreeSet<Omitted>,
    /// The first unnamed object; none after it is named either.
    end: Option<Omitted>,
    bytes: usize,
    more: u64,
    room: usize,
}

impl Omissions {
    /// An empty list.
    pub(crate) fn new(plural: &'static str) -> Self {
        Self { plural, named: BTreeSet::new(), end: None, bytes: 0, more: 0, room: NAMED }
    }

    /// Adds an object, or another reason for an object that is already named.
    pub(crate) fn add(&mut self, kind: &str, name: &str, reason: impl Into<String>) {
        let of = |reason| Omitted { kind: kind.to_owned(), name: name.to_owned(), reason, definition: None };
        let size = |omitted: &Omitted| omitted.name.len() + omitted.reason.len();
        let mut reason: String = reason.into();
        let first = self.named.range(of(String::new())..).next();
        if let Some(known) = first.filter(|known| known.kind == kind && known.name == name).cloned() {
            if known.reason.split("; ").any(|known| known == reason) {
                return;
            }
            reason = format!("{}; {reason}", known.reason);
            self.named.remove(&known);
            self.bytes = self.bytes.saturating_sub(size(&known));
        }
        let omitted = of(reason);
        if self.end.as_ref().is_some_and(|end| omitted >= *end) {
            self.more += 1;
            return;
        }
        let bytes = size(&omitted);
        if self.named.insert(omitted) {
            self.bytes += bytes;
        }
        while self.named.len() > self.room || self.bytes > NAMED_BYTES {
            let Some(last) = self.named.pop_last() else { return };
            self.bytes = self.bytes.saturating_sub(size(&last));
            self.more += 1;
            self.end = Some(last);
        }
    }

    /// The named objects, in order.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Omitted> {
        self.named.iter()
    }

    /// Number of all objects.
    pub(crate) fn count(&self) -> u64 {
        self.named.len() as u64 + self.more
    }

    /// The list for the manifest.
    pub(crate) fn into_list(self) -> Vec<Omitted> {
        let more = (self.more > 0).then(|| Omitted {
            kind: self.plural.to_owned(),
            name: OTHERS.to_owned(),
            reason: format!(
                "{} more cannot be read; only the first {} are named",
                self.more,
                self.named.len()
            ),
            definition: None,
        });
        self.named.into_iter().chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_reasons_is_named_once_with_both() {
        let mut omissions = Omissions::new("files");
        for reason in ["its metadata cannot be read", "it cannot be listed", "it cannot be listed"] {
            omissions.add("folder", "a", reason);
        }
        omissions.add("folder", "aa", "it cannot be listed");
        assert_eq!(omissions.count(), 2);
        let list = omissions.into_list();
        assert_eq!((list[0].name.as_str(), list[1].name.as_str()), ("a", "aa"));
        assert_eq!(list[0].reason, "its metadata cannot be read; it cannot be listed");
    }

    #[test]
    fn the_first_names_are_kept_whatever_the_order_and_the_others_counted() {
        let of = |names: &[&str]| {
            let mut omissions = Omissions { room: 2, ..Omissions::new("blobs") };
            names.iter().for_each(|name| omissions.add("blob", name, "refused"));
            assert_eq!(omissions.count(), names.len() as u64);
            omissions.into_list().iter().map(Omitted::text).collect::<Vec<_>>()
        };
        let (a, b) = ("blob a (refused)", "blob b (refused)");
        let others =
            |more| format!("blobs (others) ({more} more cannot be read; only the first 2 are named)");
        assert_eq!(of(&["c", "a", "d", "b"]), [a, b, &others(2)]);
        assert_eq!(of(&["e", "d", "c", "b", "a"]), [a, b, &others(3)]);
        assert_eq!(of(&["b", "a"]), [a, b]);
        let mut long = Omissions::new("files");
        for number in 0..300 {
            long.add("file", &format!("{number:03}{}", "x".repeat(100_000)), "refused");
        }
        assert!(long.bytes <= NAMED_BYTES && long.more > 100 && long.count() == 300, "{}", long.bytes);
        assert!(long.named().next().is_some_and(|first| first.name.starts_with("000x")));
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn what_is_named_is_the_beginning_of_all_also_if_a_long_name_ends_it() {
        let long = "x".repeat(NAMED_BYTES);
        let long = long.as_str();
        let of = |names: &[&str]| {
            let mut omissions = Omissions::new("files");
            names.iter().for_each(|name| omissions.add("file", name, "refused"));
            let named: Vec<&str> = omissions.named().map(|omitted| omitted.name.as_str()).collect();
            assert_eq!(named, ["a", "b"]);
            assert_eq!(omissions.count(), names.len() as u64);
        };
        of(&["z", "a", long, "b"]);
        of(&["a", "b", long, "z"]);
        of(&[long, "z", "b", "a"]);
    }
}
