//! Dumping a database with several tools at the same time, each a share of its tables. Without a common snapshot this is only
//! possible where nothing is written: on scratch servers.

use std::collections::{BTreeSet, HashMap};

use super::{
    dump::{Dump, Plan, Streamed},
    exact,
    inventory::Inventory,
    session::{Session, quote_literal},
};
use crate::{
    error::{Error, Result},
    workers,
};

/// A database with fewer bytes of data is dumped by one tool.
const SMALL: u64 = 32 << 20;
/// At most so many tables are divided, because their names are arguments of the dump tools.
const DIVIDED: usize = 1000;

/// A share of a database.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Everything.
    All,
    /// Everything but these tables.
    Without(BTreeSet<String>),
    /// Only these tables, with their triggers.
    Only(BTreeSet<String>),
}

impl Share {
    /// Whether this table is in it.
    pub(super) fn has(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::Without(tables) => !tables.contains(table),
            Self::Only(tables) => tables.contains(table),
        }
    }

    /// Options for the dump tool.
    pub(super) fn options(&self, database: &str) -> Vec<String> {
        match self {
            Self::All => Vec::new(),
            Self::Without(tables) => {
                tables.iter().map(|name| format!("--ignore-table={database}.{name}")).collect()
            }
            Self::Only(_) => vec!["--skip-routines".to_owned()],
        }
    }

    /// Arguments for the dump tool after the database.
    pub(super) fn tables(&self) -> impl Iterator<Item = &String> {
        let only = if let Self::Only(tables) = self { Some(tables) } else { None };
        only.into_iter().flatten()
    }
}

/// Shares of about equal size.
pub(super) fn of(
    session: &Session<'_>,
    database: &str,
    inventory: &Inventory,
    number: usize,
) -> Result<Vec<Share>> {
    let sizes: Vec<[String; 2]> = session.rows(&format!(
        "SELECT TABLE_NAME, IFNULL(DATA_LENGTH, 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
         AND TABLE_TYPE = 'BASE TABLE'",
        quote_literal(database)
    ))?;
    let known = |name: &String| inventory.objects.contains(&("table".to_owned(), name.clone()));
    // The dump tools take names that differ only in case for the same.
    let mut spellings: HashMap<String, usize> = HashMap::new();
    for (_, name) in &inventory.objects {
        *spellings.entry(name.to_lowercase()).or_default() += 1;
    }
    let is_alone = |name: &String| spellings.get(&name.to_lowercase()) == Some(&1);
    let sizes = sizes.into_iter();
    let sizes = sizes.filter(|[name, _]| known(name) && !inventory.is_rowless(name) && is_alone(name));
    Ok(split(sizes.map(|[name, size]| (name, size.parse().unwrap_or(0))).collect(), number))
}

fn split(mut tables: Vec<(String, u64)>, number: usize) -> Vec<Share> {
    tables.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let total: u64 = tables.iter().map(|(_, size)| size).sum();
    let mut shares: Vec<(u64, BTreeSet<String>)> = vec![Default::default(); number];
    for (name, size) in tables.into_iter().filter(|(_, size)| *size > 0).take(DIVIDED) {
        if let Some((sum, names)) = shares.iter_mut().min_by_key(|(sum, _)| *sum) {
            *sum += size;
            names.insert(name);
        }
    }
    // The first share is what no other has.
    let others: Vec<BTreeSet<String>> =
        shares.into_iter().skip(1).map(|(_, names)| names).filter(|names| !names.is_empty()).collect();
    if total < SMALL || others.is_empty() {
        return vec![Share::All];
    }
    let without = Share::Without(others.iter().flatten().cloned().collect());
    std::iter::once(without).chain(others.into_iter().map(Share::Only)).collect()
}

/// Dumps the shares at the same time.
pub(super) fn run(
    dump: &Dump<'_>,
    shares: &[Share],
    plan: &Plan,
    inexact: &exact::Plan,
    history: Option<&'static str>,
) -> Result<Streamed> {
    let done = workers::map(shares, shares.len(), |share| {
        let plan = if matches!(share, Share::Only(_)) { plan.of_tables() } else { plan.clone() };
        dump.run(share, plan, inexact.clone(), history)
    });
    let mut done = done.into_iter();
    let mut all = done.next().unwrap_or_else(|| Err(Error::failed("a database has no share")))?;
    for other in done {
        let other = other?;
        all.bytes += other.bytes;
        all.warnings.push_str(&other.warnings);
        all.inexact.extend(other.inexact);
        all.summary.add(other.summary);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_about_equal_and_the_first_has_all_that_is_left() {
        let mib = |name: &str, size: u64| (name.to_owned(), size << 20);
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let tables = || vec![mib("a", 10), mib("b", 60), mib("c", 30), mib("empty", 0), mib("d", 15)];
        assert_eq!(
            split(tables(), 2),
            [Share::Without(set(&["a", "c", "d"])), Share::Only(set(&["a", "c", "d"]))]
        );
        assert_eq!(split(tables(), 1), [Share::All]);
        assert_eq!(split(vec![mib("a", 1), mib("b", 1)], 2), [Share::All]);
        assert_eq!(split(vec![mib("a", 100)], 4), [Share::All]);
        let shares = split(tables(), 4);
        for table in ["a", "b", "c", "d", "empty", "a view"] {
            assert_eq!(shares.iter().filter(|share| share.has(table)).count(), 1, "{table}");
        }
    }
}
