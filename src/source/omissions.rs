//! What a source has and a snapshot lacks, of which there may be many: the first are named, the others counted.

use std::collections::BTreeSet;

use super::manifest::Omitted;

/// So many objects of one item are named in its manifest.
const NAMED: usize = 10_000;
/// So many bytes names and reasons may have together.
const NAMED_BYTES: usize = 16 << 20;

/// Objects that could not be read. However many there are, memory and manifest stay small, and what is named does not
/// depend on the order in which they were met.
#[derive(Debug)]
pub(crate) struct Omissions {
    /// What is said of those that are not named: `blobs`, `files`.
    plural: &'static str,
    named: BTreeSet<Omitted>,
    bytes: usize,
    more: u64,
    room: usize,
}

impl Omissions {
    /// None yet.
    pub(crate) fn new(plural: &'static str) -> Self {
        Self { plural, named: BTreeSet::new(), bytes: 0, more: 0, room: NAMED }
    }

    /// One more, or one more reason for one that is named already.
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
        let bytes = size(&omitted);
        if self.named.insert(omitted) {
            self.bytes += bytes;
        }
        while self.named.len() > self.room || self.bytes > NAMED_BYTES {
            let Some(last) = self.named.pop_last() else { return };
            self.bytes = self.bytes.saturating_sub(size(&last));
            self.more += 1;
        }
    }

    /// Those that are named, in order.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Omitted> {
        self.named.iter()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.named.len() as u64 + self.more
    }

    /// As the manifest lists them.
    pub(crate) fn into_list(self) -> Vec<Omitted> {
        let more = (self.more > 0).then(|| Omitted {
            kind: self.plural.to_owned(),
            name: format!("({} more)", self.more),
            reason: "they cannot be read either; only the first are named".to_owned(),
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
            omissions.into_list().into_iter().map(|o| format!("{} {}", o.kind, o.name)).collect::<Vec<_>>()
        };
        assert_eq!(of(&["c", "a", "d", "b"]), ["blob a", "blob b", "blobs (2 more)"]);
        assert_eq!(of(&["b", "a"]), ["blob a", "blob b"]);
        let mut long = Omissions::new("files");
        for number in 0..300 {
            long.add("file", &format!("{number:03}{}", "x".repeat(100_000)), "refused");
        }
        assert!(long.bytes <= NAMED_BYTES && long.more > 100 && long.count() == 300, "{}", long.bytes);
        assert!(long.named().next().is_some_and(|first| first.name.starts_with("000x")));
        assert!(of(&[]).is_empty());
    }
}
