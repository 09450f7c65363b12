//! Rows of partitions that are loaded by way of the table at the root: which partition they end up in depends on the server,
//! so they are counted together.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Result},
    source::postgres::{
        archive::{TocEntry, routes},
        psql::quote_ident,
    },
};

/// Schema and name.
type Name = (String, String);

#[derive(Debug, Clone, Copy)]
struct Sum {
    stored: u64,
    counted: u64,
    /// Were all partitions counted?
    whole: bool,
}

/// The partitions of a restore, and what was counted of them.
#[derive(Debug)]
pub(super) struct Partitions {
    roots: BTreeMap<Name, Name>,
    sums: BTreeMap<Name, Sum>,
}

impl Partitions {
    /// The partitions among these entries.
    pub(super) fn of(entries: &[TocEntry]) -> Self {
        let routes = routes(entries).into_iter();
        let roots = routes.map(|r| ((r.schema, r.name), (r.into_schema, r.into_name))).collect();
        Self { roots, sums: BTreeMap::new() }
    }

    /// Takes note of what was counted, `None` if it could not be, if the table is a partition whose rows may be in others.
    pub(super) fn take(&mut self, schema: &str, name: &str, stored: u64, counted: Option<u64>) -> bool {
        let Some(root) = self.roots.get(&(schema.to_owned(), name.to_owned())) else { return false };
        let sum = self.sums.entry(root.clone()).or_insert(Sum { stored: 0, counted: 0, whole: true });
        sum.stored = sum.stored.saturating_add(stored);
        sum.counted = sum.counted.saturating_add(counted.unwrap_or_default());
        sum.whole &= counted.is_some();
        true
    }

    /// What is not as it was.
    pub(super) fn wrong(&self) -> Vec<String> {
        let differ = self.sums.iter().filter(|(_, sum)| sum.whole && sum.stored != sum.counted);
        differ
            .map(|((schema, name), sum)| {
                format!(
                    "{}.{} has {} rows in its partitions instead of {}",
                    quote_ident(schema),
                    quote_ident(name),
                    sum.counted,
                    sum.stored
                )
            })
            .collect()
    }
}

/// Fails if partitions are chosen whose rows are loaded by way of a table that is not.
pub(super) fn require_roots(chosen: &[TocEntry]) -> Result<()> {
    for routed in routes(chosen) {
        let is_root = |entry: &TocEntry| {
            entry.desc == "TABLE"
                && entry.tag == routed.into_name
                && entry.namespace.as_deref().unwrap_or_default() == routed.into_schema
        };
        if !chosen.iter().any(is_root) {
            return Err(Error::usage(format!(
                "the rows of {}.{} can only be restored into the partitioned table {}.{}",
                routed.schema, routed.name, routed.into_schema, routed.into_name
            ))
            .hint(format!("restore that table: --table {}.{}", routed.into_schema, routed.into_name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_counted_together() {
        let name = |name: &str| ("public".to_owned(), name.to_owned());
        let roots = ["t0", "t1", "t2"].map(|leaf| (name(leaf), name("t"))).into_iter().collect();
        let mut partitions = Partitions { roots, sums: BTreeMap::new() };
        assert!(!partitions.take("public", "other", 1, Some(2)));
        assert!(partitions.take("public", "t0", 4000, Some(2000)));
        assert!(partitions.take("public", "t1", 1000, Some(3000)));
        assert!(partitions.wrong().is_empty());
        assert!(partitions.take("public", "t2", 5, Some(4)));
        assert_eq!(partitions.wrong(), ["\"public\".\"t\" has 5004 rows in its partitions instead of 5005"]);
        // One that could not be counted may hold what is missing.
        assert!(partitions.take("public", "t2", 0, None));
        assert!(partitions.wrong().is_empty());
    }
}
