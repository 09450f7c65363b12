//! Restoring with several processes of `pg_restore`, each with a connection of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    thread,
    time::Duration,
};

use super::{
    Restore,
    feed::Feed,
    filled::Filled,
    plan::Plan,
    preflight::TargetServer,
    process::{GOES_ON, Part, Process},
    select::Selection,
};
use crate::{
    error::{Error, Result},
    source::postgres::{
        archive::{TocEntry, truncating},
        clients::major_of,
        psql::quote_ident,
    },
    stream::cancel::Cancel,
    workers,
};

/// The most processes that are used unless another number is requested: the target may be a small server.
const MOST: usize = 4;
/// How long a connection may take. A pooler lets connections wait until others end.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The first version of `pg_dump` all of whose releases record the dependencies that several sessions need: earlier ones leave
/// out those of column privileges and of foreign keys to partitioned tables.
const KNOWS_DEPENDENCIES: u32 = 13;
const ANOTHER: &str = "another part of the restore failed";

impl Restore<'_> {
    /// How many processes are wanted.
    pub(super) fn jobs(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
        self.options.jobs.unwrap_or_else(processors)
    }

    /// Restores the parts of a plan.
    pub(super) fn in_parallel(
        &self,
        feed: &Feed<'_>,
        selection: &Selection,
        plan: &Plan,
        server: &TargetServer,
        wanted: usize,
    ) -> Result<Filled> {
        let process = self.process();
        let mut filled = Filled::default();
        let before = Part::of(Some(&plan.before));
        // Not beside the first process: it could lack the connection that is tried.
        let (jobs, refused) = connections(&process, wanted, self.cancel);
        self.cancel.check()?;
        if let Some(error) = refused {
            (self.notice)(&format!(
                "restoring with {} instead of {wanted}: {}",
                crate::output::count(jobs, "connection"),
                error.summary()
            ));
        }
        if jobs == 1 {
            // One process needs one connection; several, one after the other, may need two for a moment.
            return self.by_one(feed, selection);
        }
        if self.options.keep_going {
            filled.extend(process.tolerantly(feed, &before, self.cancel)?);
        } else {
            process.strictly(feed, &before, self.cancel)?;
        }
        tracing::debug!(jobs, parts = plan.rows.len(), "the definitions are restored, rows follow");
        filled.extend(self.rows(feed, selection, plan, (server, &filled), jobs)?);
        if self.options.keep_going {
            filled.extend(process.tolerantly(feed, &Part::of(Some(&plan.after)), self.cancel)?);
            return Ok(filled);
        }
        if !filled.is_empty() {
            // Now the other tables have their rows. An error that belongs to no entry comes again.
            let ids = selection.in_order(|entry| filled.failed.contains_key(&entry.dump_id));
            process.strictly(feed, &Part::of(Some(&ids)), self.cancel)?;
        }
        tracing::debug!("the rows are restored, indexes and constraints follow");
        if self.knows_dependencies() {
            process.by_sessions(feed, &plan.after, jobs, self.cancel)?;
        } else {
            process.strictly(feed, &Part::of(Some(&plan.after)), self.cancel)?;
        }
        Ok(Filled::default())
    }

    /// Restores the rows by several processes. `before` is what could not be restored of the definitions.
    fn rows(
        &self,
        feed: &Feed<'_>,
        selection: &Selection,
        plan: &Plan,
        (server, before): (&TargetServer, &Filled),
        jobs: usize,
    ) -> Result<Filled> {
        let process = self.process();
        let truncates = self.options.scratch && server.superuser && server.minimal_wal;
        let truncated = feed.head().filter(|_| truncates);
        let truncated = truncated.map(|head| truncated_tables(head, &selection.entries, before));
        let stop = self.cancel.child();
        let tolerant = self.options.keep_going || plan.dependent;
        let rows = workers::try_map(&plan.rows, jobs, &stop, ANOTHER, |ids| {
            let part = Part { head: truncated.as_deref(), ..Part::of(Some(ids)) };
            if tolerant {
                process.tolerantly(feed, &part, &stop)
            } else {
                process.strictly(feed, &part, &stop).map(|()| Filled::default())
            }
        })
        .map_err(|error| if tolerant && !self.options.keep_going { error.hint(GOES_ON) } else { error })?;
        self.cancel.check()?;
        let mut filled = Filled::default();
        rows.into_iter().for_each(|rows| filled.extend(rows));
        Ok(filled)
    }

    /// Whether the dump says in which order several sessions may restore indexes, constraints and privileges.
    pub(super) fn knows_dependencies(&self) -> bool {
        let tools = self.manifest.tools.iter().filter(|tool| tool.name == "pg_dump");
        tools.filter_map(|tool| major_of(&tool.version)).all(|major| major >= KNOWS_DEPENDENCIES)
    }
}

/// How many connections of the wanted ones are possible at the same time, at least one, and why not all.
fn connections(process: &Process<'_>, wanted: usize, cancel: &Cancel) -> (usize, Option<Error>) {
    if process.is_for_scratch() {
        return (wanted, None);
    }
    let numbers: Vec<usize> = (0..wanted).collect();
    let panicked = |_: &usize| Err(Error::failed("connecting panicked"));
    // All sessions stay open until the last one was tried.
    let sessions = workers::map_or(&numbers, wanted, panicked, |_| process.connect(cancel, CONNECT_WITHIN));
    let possible = sessions.iter().filter(|session| session.is_ok()).count();
    match sessions.into_iter().find_map(Result::err) {
        None => (wanted, None),
        // One stays free: the server ends a session a moment after its client.
        Some(error) => (possible.saturating_sub(1).max(1), Some(error)),
    }
}

/// The beginning of a dump with statements that empty tables before their rows are loaded, for a server that then needs no
/// write-ahead log for them. Only tables that this restore has created are emptied.
fn truncated_tables(head: &[u8], entries: &[TocEntry], filled: &Filled) -> Vec<u8> {
    let name = |entry: &TocEntry| (entry.namespace.clone(), entry.tag.clone());
    let of = |desc: &'static str| entries.iter().filter(move |entry| entry.desc == desc);
    let created: BTreeSet<_> =
        of("TABLE").filter(|entry| !filled.failed.contains_key(&entry.dump_id)).map(name).collect();
    let tables: BTreeMap<i32, String> = of("TABLE DATA")
        .filter(|entry| created.contains(&name(entry)))
        // A name that is not valid UTF-8 was changed by reading it.
        .filter(|entry| !entry.tag.contains('\u{fffd}'))
        .filter_map(|entry| {
            let schema = entry.namespace.as_deref().filter(|schema| !schema.contains('\u{fffd}'))?;
            Some((entry.dump_id, format!("{}.{}", quote_ident(schema), quote_ident(&entry.tag))))
        })
        .collect();
    truncating(head, &tables)
}
