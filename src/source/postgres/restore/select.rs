//! Which part of an archive is restored.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Restore, partitions,
    preflight::{self, TargetServer},
    present::Present,
};
use crate::{
    error::{Error, Result},
    source::postgres::archive::{TocEntry, entries_for_table, left_out_for_table},
};

/// The part of an archive that is restored.
pub(super) struct Selection {
    /// In the order of the archive: `pg_restore` reads a pipe only in this order.
    pub(super) entries: Vec<TocEntry>,
    /// The ids, unless everything is restored.
    pub(super) ids: Option<Vec<i32>>,
    /// Notes about entries that are left out although not requested, because they make no difference.
    pub(super) notes: Vec<String>,
}

/// The part of a database that was restored; schema and name of each.
#[derive(Clone, Default)]
pub(super) struct Selected {
    /// Tables whose rows were restored.
    pub(super) tables: BTreeSet<(String, String)>,
    /// Sequences whose position was restored.
    pub(super) sequences: BTreeSet<(String, String)>,
}

impl Selection {
    /// The numbers of the entries that are wanted, in the order of the archive.
    pub(super) fn in_order(&self, wanted: impl Fn(&TocEntry) -> bool) -> Vec<i32> {
        self.entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.dump_id).collect()
    }

    /// Tables and sequences whose content was restored, without the entries that failed.
    pub(super) fn selected(&self, failed: &BTreeMap<i32, String>) -> Selected {
        let of = |desc: &str| {
            let restored = |e: &&TocEntry| e.desc == desc && !failed.contains_key(&e.dump_id);
            let entries = self.entries.iter().filter(restored);
            entries.map(|e| (e.namespace.clone().unwrap_or_default(), e.tag.clone())).collect()
        };
        Selected { tables: of("TABLE DATA"), sequences: of("SEQUENCE SET") }
    }
}

impl Restore<'_> {
    pub(super) fn select(
        &self,
        toc: &[TocEntry],
        server: &TargetServer,
        present: &Present,
    ) -> Result<Selection> {
        let mut chosen = self.wanted(toc)?;
        let (there, mut notes) = present.has_already(&chosen);
        chosen.retain(|entry| !there.contains(&entry.dump_id));
        notes.extend(self.other_versions(present));
        if !server.superuser && chosen.iter().any(preflight::is_extension_comment) {
            // It is created with the extension; only a superuser can set it again.
            chosen.retain(|entry| !preflight::is_extension_comment(entry));
            notes.push(
                "comments on extensions are those of the installed version: only a superuser can set them"
                    .to_owned(),
            );
        }
        // Entries that this account may not write do not matter if they are empty.
        chosen.retain(|entry| !(present.is_closed(entry) && self.is_without_rows(entry)));
        let (blocked, dependent) = if server.superuser || self.options.keep_going {
            Default::default()
        } else {
            preflight::superuser_only(&chosen, server, present)
        };
        let out = self.leave_out(server, &blocked, &dependent)?;
        chosen.retain(|entry| !out.contains(&entry.dump_id));
        let ids = (chosen.len() < toc.len()).then(|| chosen.iter().map(|entry| entry.dump_id).collect());
        Ok(Selection { entries: chosen, ids, notes })
    }

    /// All entries, or those of the one table that is wanted.
    fn wanted(&self, toc: &[TocEntry]) -> Result<Vec<TocEntry>> {
        let Some(table) = &self.options.table else { return Ok(toc.to_vec()) };
        let (schema, name) = table.split_once('.').unwrap_or(("public", table));
        let chosen = entries_for_table(toc, schema, name);
        if chosen.is_empty() {
            return Err(Error::usage(format!("the snapshot has no table {schema}.{name}"))
                .hint("write it as schema.name, in the case in which it was created"));
        }
        let left_out = left_out_for_table(toc, &chosen);
        for entry in toc.iter().filter(|e| left_out.dropped.contains(&e.dump_id)) {
            (self.notice)(&format!("not restored with the table: {}", preflight::describe(entry)));
        }
        for entry in toc.iter().filter(|e| left_out.needed.contains(&e.dump_id) && e.desc != "SCHEMA") {
            (self.notice)(&format!(
                "the table needs, and the target must have: {}",
                preflight::describe(entry)
            ));
        }
        let chosen: BTreeSet<i32> = chosen.into_iter().collect();
        let chosen: Vec<TocEntry> =
            toc.iter().filter(|entry| chosen.contains(&entry.dump_id)).cloned().collect();
        partitions::require_roots(&chosen)?;
        Ok(chosen)
    }

    /// Extensions of which the target has another version than the source had.
    fn other_versions(&self, present: &Present) -> Vec<String> {
        let extensions = self.detail.extensions.iter();
        extensions
            .filter_map(|extension| {
                let there = present.extensions.get(&extension.name)?;
                (*there != extension.version).then(|| {
                    format!(
                        "extension {}: the source has version {}, the target {there}",
                        extension.name, extension.version
                    )
                })
            })
            .collect()
    }

    /// Whether the manifest knows the table of this data as empty.
    fn is_without_rows(&self, entry: &TocEntry) -> bool {
        let mut objects = self.manifest.objects.iter();
        entry.desc == "TABLE DATA"
            && objects.any(|object| {
                object.schema.as_deref() == entry.namespace.as_deref()
                    && object.name == entry.tag
                    && object.rows == 0
            })
    }

    /// The ids of the entries that only a superuser can restore, if they may be left out.
    fn leave_out(
        &self,
        server: &TargetServer,
        blocked: &[&TocEntry],
        dependent: &[&TocEntry],
    ) -> Result<BTreeSet<i32>> {
        let list: Vec<_> = blocked.iter().map(|entry| preflight::describe(entry)).collect();
        if !list.is_empty() && !self.options.skip_superuser {
            return Err(Error::failed(format!(
                "the account {} is no superuser and cannot restore: {}",
                server.account,
                list.join("; ")
            ))
            .hint(
                "nothing was changed; leave these out with --skip-superuser-objects, use a superuser, or have an \
                 administrator create the extensions in the empty database beforehand",
            ));
        }
        list.iter()
            .for_each(|what| (self.notice)(&format!("left out, only a superuser can restore it: {what}")));
        for entry in dependent {
            (self.notice)(&format!("left out, it needs what is left out: {}", preflight::describe(entry)));
        }
        Ok(blocked.iter().chain(dependent).map(|entry| entry.dump_id).collect())
    }
}
