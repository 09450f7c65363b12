//! Restoring the selection: stopping at the first error, or continuing after errors.
//!
//! With `--continue`, everything possible is restored; the data comes before indexes, constraints and triggers. Failed entries
//! are tried again after all others, with an ordinary search path instead of the empty one that a dump sets: then a function
//! that names others without their schema, or a check that reads another table, works.

use std::collections::BTreeSet;

use super::{
    Restore, feed::Feed, filled::Filled, plan::Plan, preflight::TargetServer, process::Part,
    select::Selection,
};
use crate::{
    error::Result,
    source::postgres::{
        archive::TocEntry,
        psql::{quote_ident, quote_literal},
    },
    stream::files::Files,
};

/// Maximum number of retries of failed entries, as long as each makes progress.
const AGAIN: usize = 5;
/// Less data than this is restored by one process, in bytes.
const SMALL: u64 = 16 << 20;

impl Restore<'_> {
    /// Restores the selection.
    pub(super) fn fill(
        &self,
        files: &dyn Files,
        selection: &Selection,
        server: &TargetServer,
    ) -> Result<Filled> {
        let mut feed = Feed::new(files, self.manifest, self.detail)?;
        let wanted = if self.options.definitions { 1 } else { self.jobs() };
        if wanted > 1 && !feed.is_divided() && self.options.table.is_none() && feed.bytes() >= SMALL {
            (self.notice)(
                "the dump is read once to find its tables: the version that made it did not record where they are",
            );
            feed.divide(self.cancel)?;
        }
        let plan = (wanted > 1 && feed.is_divided())
            .then(|| {
                let may_follow = !self.options.keep_going && self.knows_dependencies();
                Plan::new(&selection.entries, &feed, wanted, may_follow)
            })
            .filter(|plan| plan.bytes >= SMALL && !plan.is_ordered);
        let filled = match plan {
            Some(plan) => self.in_parallel(&feed, selection, &plan, server, wanted)?,
            None => self.by_one(&feed, selection)?,
        };
        let mut filled = if self.options.keep_going { self.again(&feed, selection, filled)? } else { filled };
        filled.bytes = feed.bytes();
        Ok(filled)
    }

    /// Restores the selection by one process.
    pub(super) fn by_one(&self, feed: &Feed<'_>, selection: &Selection) -> Result<Filled> {
        let (process, all) = (self.process(), Part::of(selection.ids.as_deref()));
        if self.options.keep_going {
            process.tolerantly(feed, &all, self.cancel)
        } else {
            process.strictly(feed, &all, self.cancel).map(|()| Filled::default())
        }
    }

    /// Tries the entries that failed again.
    fn again(&self, feed: &Feed<'_>, selection: &Selection, mut filled: Filled) -> Result<Filled> {
        let mut last = filled.failed.clone();
        let path = set_search_path(&self.usual_search_path(&selection.entries));
        for _ in 0..AGAIN {
            if last.is_empty() {
                break;
            }
            (self.notice)(&format!(
                "{} of the dump failed: trying again",
                crate::output::count(last.len(), "entry")
            ));
            let ids = selection.in_order(|entry| last.contains_key(&entry.dump_id));
            let part = Part { search_path: Some(&path), ..Part::of(Some(&ids)) };
            let again = self.process().tolerantly(feed, &part, self.cancel)?;
            let helped = again.failed.len() < last.len();
            last = again.failed;
            if !helped {
                break;
            }
        }
        // The first error says more: "already exists" only means that the first attempt created a part.
        filled.failed.retain(|id, _| last.contains_key(id));
        for (id, reason) in last {
            let first = filled.failed.entry(id).or_insert_with(|| reason.clone());
            if *first != reason {
                first.push_str(&format!("; when it was tried again: {reason}"));
            }
        }
        Ok(filled)
    }

    /// The search path of a session in the original: the database's setting or the default, followed by all other schemas.
    pub(super) fn usual_search_path(&self, entries: &[TocEntry]) -> String {
        let database = self.detail.database.as_ref();
        let own = database
            .and_then(|database| {
                database.settings.iter().find(|s| s.role.is_none() && s.name == "search_path")
            })
            .map(|setting| setting.value.trim().to_owned())
            .filter(|value| !value.is_empty());
        let mut path = own.unwrap_or_else(|| "\"$user\", public".to_owned());
        let schemas: BTreeSet<&str> = entries
            .iter()
            .filter_map(|entry| entry.namespace.as_deref())
            .filter(|n| *n != "public")
            .collect();
        for schema in schemas {
            path.push_str(", ");
            path.push_str(&quote_ident(schema));
        }
        path
    }
}

/// The statement that sets it, as written in archives.
pub(super) fn set_search_path(path: &str) -> String {
    format!("SELECT pg_catalog.set_config('search_path', {}, false);\n", quote_literal(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_one_literal() {
        assert_eq!(
            set_search_path("\"$user\", public, \"it's\""),
            "SELECT pg_catalog.set_config('search_path', '\"$user\", public, \"it''s\"', false);\n"
        );
    }
}
