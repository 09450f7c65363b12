//! Records a run while it is in progress.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use jiff::Zoned;
use rusqlite::{Transaction, params};
use rustix::fs::{FlockOperation, flock};

use super::{Content, History, RUNNING, anomaly::Finding, good::succeeded, millis, rows::item_id, signed};
use crate::{
    config::AnomalyRules,
    error::{Error, Problem, Result},
    outcome::{ItemOutcome, ItemReport},
};

/// Outcomes as stored.
pub(super) const OK: i64 = 0;
pub(super) const FAILED: i64 = 1;
pub(super) const INTERRUPTED: i64 = 2;
pub(super) const UNCHECKED: i64 = 3;
pub(super) const VANISHED: i64 = 4;
pub(super) const PARTIAL: i64 = 5;

/// A run at its start.
#[derive(Debug)]
pub struct RunBegin<'a> {
    /// Its name.
    pub name: &'a str,
    /// `backup` or `drill`.
    pub kind: &'a str,
    /// When it began.
    pub started: &'a Zoned,
    /// The host.
    pub host: &'a str,
    /// Names and kinds of its sources.
    pub sources: &'a [(String, &'static str)],
    /// Id that systemd gave this invocation of the unit, if it did.
    pub invocation: Option<&'a str>,
}

/// A run at its end.
#[derive(Debug)]
pub struct RunEnd<'a> {
    /// `ok`, `partial` or `failed`.
    pub outcome: &'a str,
    /// The error that ended it as a whole.
    pub error: Option<&'a str>,
    /// Whether its sources have failed for that reason.
    pub fails_sources: bool,
    /// Snapshots that retention removed.
    pub forgotten: u64,
}

/// A run being recorded.
pub struct RunRecord<'h> {
    history: &'h History,
    pub(super) id: i64,
    started: i64,
    sources: Vec<(String, &'static str)>,
    /// Locked as long as this process lives, so that other processes know that the run is alive.
    alive: Option<(File, PathBuf)>,
}

impl History {
    /// Records the start of a run.
    pub fn begin_run(&self, begin: &RunBegin<'_>) -> Result<RunRecord<'_>> {
        let alive = self.alive_file(begin.name)?;
        let started = millis(begin.started);
        let id = self.change(|tx| {
            tx.execute(
                "INSERT INTO run (name, kind, host, invocation, started) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![begin.name, begin.kind, begin.host, begin.invocation, started],
            )?;
            let id = tx.last_insert_rowid();
            for (source, _) in begin.sources {
                tx.execute("INSERT INTO discovery (run, source) VALUES (?1, ?2)", params![id, source])?;
            }
            Ok(id)
        })?;
        Ok(RunRecord { history: self, id, started, sources: begin.sources.to_vec(), alive })
    }

    fn alive_file(&self, run: &str) -> Result<Option<(File, PathBuf)>> {
        let Some(state_dir) = self.state_dir() else { return Ok(None) };
        let path = state_dir.join(RUNNING).join(run);
        let failed =
            |e: std::io::Error| Error::failed(format!("cannot write {}", path.display())).because(&e);
        let file = crate::fs::private_file(&path).map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| failed(e.into()))?;
        Ok(Some((file, path)))
    }

    /// Whether the process of an unfinished run is still alive.
    pub(super) fn is_alive(&self, run: &str) -> bool {
        let Some(state_dir) = self.state_dir() else { return true };
        let path = state_dir.join(RUNNING).join(run);
        let Ok(file) = File::open(&path) else { return false };
        // If unknown, it counts as alive: a missed alert is better than a false one.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                // A lock file that cannot be removed does no harm.
                let _ = fs::remove_file(&path);
                if let Some(progress) = self.progress_file(run) {
                    let _ = fs::remove_file(progress);
                }
                false
            }
            Err(_) => true,
        }
    }

    /// Marks runs whose process has died as interrupted, and the items it was reading as failed. Returns how many.
    pub fn mark_interrupted(&self, now: &Zoned) -> Result<usize> {
        let open: Vec<(i64, String, i64)> = self.read(|tx| {
            let mut statement = tx.prepare("SELECT id, name, started FROM run WHERE ended IS NULL")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })?;
        let dead: Vec<_> = open.into_iter().filter(|(_, name, _)| !self.is_alive(name)).collect();
        if dead.is_empty() {
            return Ok(0);
        }
        let now = millis(now);
        self.change(|tx| {
            for (run, _, started) in &dead {
                interrupt(tx, *run, *started, now)?;
            }
            Ok(dead.len())
        })
    }
}

fn interrupt(tx: &Transaction<'_>, run: i64, started: i64, now: i64) -> rusqlite::Result<()> {
    let begin = super::zoned(started).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let what =
        format!("the run that began at {begin} was interrupted: it was killed or the machine went down");
    let text = Problem::new(what)
        .hint("see the journal for the reason (out of memory?); the next run backs up what is missing")
        .to_string();
    // Another process may have done this meanwhile.
    let changed = tx.execute(
        "UPDATE run SET ended = ?2, outcome = 'interrupted' WHERE id = ?1 AND ended IS NULL",
        params![run, now],
    )?;
    if changed == 0 {
        return Ok(());
    }
    tx.execute(
        "UPDATE item SET last_run = ?1, last_time = ?2, failed_since = COALESCE(failed_since, ?2), error = ?3 \
         WHERE id IN (SELECT item FROM attempt WHERE run = ?1 AND outcome IS NULL)",
        params![run, started, text],
    )?;
    tx.execute(
        "UPDATE attempt SET outcome = ?2 WHERE run = ?1 AND outcome IS NULL",
        params![run, INTERRUPTED],
    )?;
    super::drill::interrupt(tx, run)?;
    let mut sources = tx.prepare("SELECT source FROM discovery WHERE run = ?1")?;
    let sources: Vec<String> =
        sources.query_map([run], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for source in sources {
        fail_source(tx, &source, run, started, &text)?;
    }
    Ok(())
}

/// Records a failure of a source as a whole.
fn fail_source(tx: &Transaction<'_>, source: &str, run: i64, time: i64, error: &str) -> rusqlite::Result<()> {
    // The kind is unknown for a source that never ran; the next run sets it.
    let item = item_id(tx, source, "", "", time)?;
    tx.execute(
        "UPDATE item SET last_run = ?2, last_time = ?3, failed_since = COALESCE(failed_since, ?3), error = ?4 \
         WHERE id = ?1",
        params![item, run, time, error],
    )?;
    Ok(())
}

/// Whether an item of a source failed in this run with this error.
fn items_failed_with(tx: &Transaction<'_>, source: &str, run: i64, error: &str) -> rusqlite::Result<bool> {
    tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM attempt JOIN item ON item.id = attempt.item JOIN text ON text.id = attempt.error \
         WHERE attempt.run = ?1 AND item.source = ?2 AND item.name <> '' AND text.text = ?3)",
        params![run, source, error],
        |row| row.get(0),
    )
}

/// The id of a text. Each text is stored once.
fn text_id(tx: &Transaction<'_>, text: &str) -> rusqlite::Result<i64> {
    tx.execute("INSERT OR IGNORE INTO text (text) VALUES (?1)", [text])?;
    tx.query_row("SELECT id FROM text WHERE text = ?1", [text], |row| row.get(0))
}

impl RunRecord<'_> {
    pub(super) fn history(&self) -> &History {
        self.history
    }

    /// Records that an item is being read.
    pub fn item_started(&self, source: &str, item: &str, kind: &str, now: &Zoned) -> Result<()> {
        let now = millis(now);
        self.history.change(|tx| {
            let item = item_id(tx, source, item, kind, now)?;
            tx.prepare_cached("INSERT OR REPLACE INTO attempt (run, item, began) VALUES (?1, ?2, ?3)")?
                .execute(params![self.id, item, now - self.started])?;
            Ok(())
        })
    }

    /// Records the outcome of an item, judges it by its past, and returns the anomalies.
    pub fn item_finished(
        &self,
        report: &ItemReport,
        content: Option<&Content>,
        rules: &AnomalyRules,
        now: &Zoned,
    ) -> Result<Vec<Finding>> {
        let now = millis(now);
        self.history.change(|tx| {
            let item = item_id(tx, &report.source, report.item.as_deref().unwrap_or(""), &report.kind, now)?;
            let took = (report.seconds * 1000.0) as i64;
            attempt(tx, self.id, item, report, content, (now - self.started - took).max(0))?;
            if report.outcome == ItemOutcome::Vanished {
                let name = report.item.as_deref().unwrap_or_default();
                super::discovery::vanished(tx, self.id, &report.source, item, name, now)?;
                return Ok(Vec::new());
            }
            match content.filter(|_| report.succeeded()) {
                Some(content) => succeeded(tx, self.id, item, report, content, rules),
                None => {
                    let error =
                        report.error.as_ref().map_or_else(|| "failed".to_owned(), ToString::to_string);
                    tx.execute(
                        "UPDATE item SET kind = ?5, last_run = ?2, last_time = ?3, error = ?4, \
                         failed_since = COALESCE(failed_since, ?3) WHERE id = ?1",
                        params![item, self.id, now, error, report.kind],
                    )?;
                    Ok(Vec::new())
                }
            }
        })
    }

    /// Records the end of the run. A failure of the run as a whole is recorded for each of its sources, unless the
    /// source's items have it: once a source has been listed, every item has its own outcome.
    pub fn finish(mut self, end: &RunEnd<'_>, now: &Zoned) -> Result<()> {
        let now = millis(now);
        let done = self.history.change(|tx| {
            super::discovery::guess_renames(tx, self.id)?;
            tx.execute(
                "UPDATE run SET ended = ?2, outcome = ?3, error = ?4, forgotten = ?5 WHERE id = ?1",
                params![self.id, now, end.outcome, end.error, signed(end.forgotten)],
            )?;
            for (source, kind) in &self.sources {
                let is_told = match end.error {
                    Some(error) => items_failed_with(tx, source, self.id, error)?,
                    None => false,
                };
                match end.error.filter(|_| end.fails_sources && !is_told) {
                    Some(error) => fail_source(tx, source, self.id, self.started, error)?,
                    None => {
                        // A source that failed as a whole has its own failure from this run.
                        tx.execute(
                            "UPDATE item SET failed_since = NULL, error = NULL WHERE source = ?1 AND name = '' \
                             AND NOT EXISTS (SELECT 1 FROM attempt WHERE run = ?2 AND item = item.id AND outcome = ?3)",
                            params![source, self.id, FAILED],
                        )?;
                    }
                }
                tx.execute(
                    "UPDATE item SET kind = ?2, last_run = ?3, last_time = ?4 WHERE source = ?1 AND name = ''",
                    params![source, kind, self.id, self.started],
                )?;
            }
            Ok(())
        });
        if done.is_ok()
            && let Some((_, path)) = self.alive.take()
        {
            // If it is left behind, it is treated as that of a run that has ended.
            let _ = fs::remove_file(path);
        }
        done
    }
}

fn attempt(
    tx: &Transaction<'_>,
    run: i64,
    item: i64,
    report: &ItemReport,
    content: Option<&Content>,
    began: i64,
) -> rusqlite::Result<()> {
    let error = report.error.as_ref().map(|error| text_id(tx, &error.to_string())).transpose()?;
    let outcome = match report.outcome {
        ItemOutcome::Ok => OK,
        ItemOutcome::Unchecked => UNCHECKED,
        ItemOutcome::Partial => PARTIAL,
        ItemOutcome::Vanished => VANISHED,
        ItemOutcome::Failed => FAILED,
    };
    let short = report.snapshot.as_deref().and_then(|id| u64::from_str_radix(id.get(..16)?, 16).ok());
    tx.prepare_cached(
        "INSERT INTO attempt (run, item, began, took, outcome, bytes_read, bytes_added, bytes, rows, snapshot, error) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO UPDATE SET took = ?4, outcome = ?5, \
         bytes_read = ?6, bytes_added = ?7, bytes = ?8, rows = ?9, snapshot = ?10, error = ?11",
    )?
    .execute(params![
        run,
        item,
        began,
        (report.seconds * 1000.0) as i64,
        outcome,
        signed(report.bytes_read),
        signed(report.bytes_added),
        content.map(|content| signed(content.bytes)),
        content.and_then(|content| content.rows).map(signed),
        short.map(u64::cast_signed),
        error,
    ])?;
    Ok(())
}
