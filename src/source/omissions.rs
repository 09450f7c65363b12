//! What a source has and a snapshot lacks, of which there may be many: the first are named, the others counted.

use std::collections::BTreeMap;

use super::manifest::Omitted;

/// So many objects of one item are named in its manifest.
const MOST: usize = 10_000;
/// So many bytes names and reasons may have together.
const MOST_BYTES: usize = 16 << 20;

/// Objects that could not be read. However many there are, memory and manifest stay small. The first in order are named,
/// whatever the order in which they come, so that the same are named every night.
#[derive(Debug)]
pub(crate) struct Omissions {
    /// What is said of those that are not named: `blobs`, `files`.
    plural: &'static str,
    /// Reasons by kind and name.
    named: BTreeMap<(&'static str, String), String>,
    bytes: usize,
    /// How many are not named for lack of room.
    more: u64,
}

impl Omissions {
    /// None yet.
    pub(crate) fn new(plural: &'static str) -> Self {
        Self { plural, named: BTreeMap::new(), bytes: 0, more: 0 }
    }

    /// One more.
    pub(crate) fn add(&mut self, kind: &'static str, name: impl Into<String>, reason: impl Into<String>) {
        let (name, reason) = (name.into(), reason.into());
        let bytes = name.len() + reason.len();
        if self.named.insert((kind, name), reason).is_none() {
            self.bytes += bytes;
        }
        while self.named.len() > MOST || self.bytes > MOST_BYTES {
            let Some(((_, name), reason)) = self.named.pop_last() else { return };
            self.bytes = self.bytes.saturating_sub(name.len() + reason.len());
            self.more += 1;
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Kind, name and reason of those that are named.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &str, &str)> {
        self.named.iter().map(|((kind, name), reason)| (*kind, name.as_str(), reason.as_str()))
    }

    /// As the manifest lists them, in order.
    pub(crate) fn into_list(self) -> Vec<Omitted> {
        let omitted = |kind: &str, name: String, reason: String| Omitted {
            kind: kind.to_owned(),
            name,
            reason,
            definition: None,
        };
        let named = self.named.len();
        let mut all: Vec<Omitted> =
            self.named.into_iter().map(|((kind, name), reason)| omitted(kind, name, reason)).collect();
        if self.more > 0 {
            // The number belongs to the name: that one more cannot be read is not accepted with the others.
            let reason = format!("only {named} of what cannot be read are named");
            all.push(omitted(self.plural, format!("({} more)", self.more), reason));
        }
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: impl Iterator<Item = usize>) -> Vec<Omitted> {
        let mut omissions = Omissions::new("files");
        names.for_each(|number| omissions.add("file", format!("f{number:06}"), "refused"));
        omissions.into_list()
    }

    #[test]
    fn the_same_names_are_kept_in_whatever_order_they_come() {
        let up = of(0..MOST + 7);
        assert_eq!(up, of((0..MOST + 7).rev()));
        assert_eq!(up.len(), MOST + 1);
        assert_eq!((up[0].name.as_str(), up[MOST - 1].name.as_str()), ("f000000", "f009999"));
        assert_eq!((up[MOST].kind.as_str(), up[MOST].name.as_str()), ("files", "(7 more)"));
        assert!(of(0..0).is_empty());
    }

    #[test]
    fn names_of_any_length_do_not_fill_the_memory() {
        let mut omissions = Omissions::new("blobs");
        (0..300)
            .for_each(|number| omissions.add("blob", format!("{number:03}{}", "x".repeat(100_000)), "no"));
        assert!(omissions.bytes <= MOST_BYTES && omissions.more > 100, "{}", omissions.bytes);
        assert!(omissions.named().next().is_some_and(|(_, name, _)| name.starts_with("000x")));
    }
}
