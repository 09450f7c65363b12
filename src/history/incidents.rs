//! Alerted problems, the queue of messages, and the state of the channels.

use std::collections::HashMap;

use jiff::Zoned;
use rusqlite::{Transaction, params};

use super::{
    History,
    ledger::{ChannelEntry, ProblemKind},
    millis,
    shared::{credible, credible_until},
    unsigned, zoned,
};
use crate::{
    error::{Error, Result},
    history::message::{Line, Message, Purpose},
};

/// Slack for reminders, because daily runs do not begin at exactly the same time.
const SLACK: i64 = 3_600_000;

/// The differences to alert after comparing the ledger with earlier alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New problems.
    pub new: Vec<Line>,
    /// Persisting problems, if a reminder is due or there is something else to alert.
    pub persisting: Vec<Line>,
    /// Problems that are over.
    pub recovered: Vec<Line>,
}

impl Changes {
    /// Whether there is nothing to alert.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.persisting.is_empty() && self.recovered.is_empty()
    }

    /// The purpose of a message with these differences.
    pub fn purpose(&self) -> Purpose {
        if !self.new.is_empty() {
            Purpose::Problem
        } else if !self.recovered.is_empty() {
            Purpose::Recovery
        } else {
            Purpose::Reminder
        }
    }
}

/// An alerted problem.
struct Known {
    id: i64,
    line: Line,
    /// When it was alerted; unknown if a clock was wrong then.
    told: Option<i64>,
}

/// A message that waits for its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub id: i64,
    /// The message.
    pub message: Message,
}

impl History {
    /// Compares the current problems with those alerted before, records the difference and queues the messages that
    /// `compose` makes of it, as pairs of channel name and message. The lines in `once` are added and not repeated. All
    /// in one transaction, so that nothing is alerted twice.
    pub fn record_and_queue(
        &self,
        current: &[Line],
        once: &[Line],
        now: &Zoned,
        remind_every: std::time::Duration,
        compose: impl FnOnce(&Changes) -> Vec<(String, Message)>,
    ) -> Result<Changes> {
        let now = millis(now);
        let every = i64::try_from(remind_every.as_millis()).unwrap_or(i64::MAX);
        // For a short `remind_every`, half of it is the slack.
        let every = every - SLACK.min(every / 2);
        self.change(|tx| {
            let known = known(tx, now)?;
            let mut changes = compare(&known, current, now, every);
            for line in &changes.new {
                tx.execute(
                    "INSERT INTO incident (subject, kind, text, hint, since, opened, told) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
                    params![
                        line.subject,
                        line.kind,
                        line.text,
                        line.hint,
                        line.since.as_ref().map(millis),
                        now
                    ],
                )?;
            }
            for line in &changes.persisting {
                tx.execute(
                    "UPDATE incident SET told = ?3, text = ?4, hint = ?5 WHERE subject = ?1 AND kind = ?2 \
                     AND resolved IS NULL",
                    params![line.subject, line.kind, now, line.text, line.hint],
                )?;
            }
            for known in known.iter().filter(|known| !current.iter().any(|line| known.is(line))) {
                tx.execute("UPDATE incident SET resolved = ?2 WHERE id = ?1", [known.id, now])?;
            }
            changes.new.retain(|line| !known.iter().any(|known| known.explains(line)));
            changes.new.extend_from_slice(once);
            if !changes.is_empty() {
                for (channel, message) in compose(&changes) {
                    queue(tx, &channel, &message, now)?;
                }
            }
            Ok(changes)
        })
    }

    /// Reserves the messages queued for a channel for the time `hold`, oldest first. Reminders followed by a later
    /// message are dropped.
    pub fn claim(&self, channel: &str, now: &Zoned, hold: std::time::Duration) -> Result<Vec<Waiting>> {
        let now = millis(now);
        let until = now.saturating_add(i64::try_from(hold.as_millis()).unwrap_or(i64::MAX));
        // A longer reservation means that a clock was wrong when they were taken.
        let latest = credible_until(until);
        self.change(|tx| {
            let mut statement = tx.prepare(
                "SELECT id, message FROM outbox WHERE channel = ?1 AND delivered IS NULL AND dropped IS NULL \
                 AND (claimed IS NULL OR claimed < ?2 OR claimed > ?3) ORDER BY id",
            )?;
            let rows: Vec<(i64, String)> = statement
                .query_map(params![channel, now, latest], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let last = rows.len().saturating_sub(1);
            let mut waiting = Vec::new();
            for (index, (id, json)) in rows.into_iter().enumerate() {
                let message = serde_json::from_str::<Message>(&json).ok();
                match message.filter(|message| index == last || message.purpose != Purpose::Reminder) {
                    Some(message) => {
                        tx.execute("UPDATE outbox SET claimed = ?2 WHERE id = ?1", [id, until])?;
                        waiting.push(Waiting { id, message });
                    }
                    None => {
                        tx.execute("UPDATE outbox SET dropped = ?2 WHERE id = ?1", [id, now])?;
                    }
                }
            }
            Ok(waiting)
        })
    }

    /// Releases a message that was reserved and not sent.
    pub fn release(&self, id: i64) -> Result<()> {
        self.change(|tx| tx.execute("UPDATE outbox SET claimed = NULL WHERE id = ?1", [id]).map(|_| ()))
    }

    /// Records the result of sending to a channel: a queued message, or another one such as a heartbeat.
    pub fn sent(
        &self,
        channel: &str,
        id: Option<i64>,
        outcome: Result<(), &Error>,
        now: &Zoned,
    ) -> Result<()> {
        let now = millis(now);
        self.change(|tx| {
            tx.execute("INSERT OR IGNORE INTO channel (name) VALUES (?1)", [channel])?;
            match outcome {
                Ok(()) => {
                    tx.execute(
                        "UPDATE channel SET last_delivery = ?2, failing_since = NULL, error = NULL WHERE name = ?1",
                        params![channel, now],
                    )?;
                    tx.execute("UPDATE outbox SET delivered = ?2, error = NULL WHERE id = ?1", params![id, now])?;
                }
                Err(error) => {
                    let text = error.to_string();
                    tx.execute(
                        "UPDATE channel SET failing_since = COALESCE(failing_since, ?2), error = ?3 WHERE name = ?1",
                        params![channel, now, text],
                    )?;
                    tx.execute(
                        "UPDATE outbox SET tries = tries + 1, error = ?2, claimed = NULL WHERE id = ?1",
                        params![id, text],
                    )?;
                }
            }
            Ok(())
        })
    }

    /// Records that the alerts of a run were sent or queued.
    pub fn mark_notified(&self, run: &str) -> Result<()> {
        self.change(|tx| tx.execute("UPDATE run SET told = 1 WHERE name = ?1", [run]).map(|_| ()))
    }

    /// Whether a run of this invocation of a systemd unit has ended by itself and sent its alerts.
    pub fn was_notified(&self, invocation: &str) -> Result<bool> {
        self.read(|tx| {
            tx.query_row(
                "SELECT EXISTS (SELECT 1 FROM run WHERE invocation = ?1 AND told = 1 AND outcome <> 'interrupted')",
                [invocation],
                |row| row.get(0),
            )
        })
    }
}

impl Known {
    /// Whether the cause of this was alerted already. An unreachable repository is alerted once, and then each source
    /// fails at its own time.
    fn explains(&self, line: &Line) -> bool {
        self.line.kind == ProblemKind::Repository.as_str()
            && line.kind != self.line.kind
            && (&line.text, &line.hint) == (&self.line.text, &self.line.hint)
    }

    fn is(&self, line: &Line) -> bool {
        self.line.subject == line.subject && self.line.kind == line.kind
    }
}

fn known(tx: &Transaction<'_>, now: i64) -> rusqlite::Result<Vec<Known>> {
    let mut statement = tx.prepare(
        "SELECT id, subject, kind, text, hint, since, told FROM incident WHERE resolved IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let line = Line {
            subject: row.get(1)?,
            kind: row.get(2)?,
            text: row.get(3)?,
            hint: row.get(4)?,
            since: row.get::<_, Option<i64>>(5)?.and_then(|since| credible(since, now)).map(zoned),
            ..Line::default()
        };
        Ok(Known { id: row.get(0)?, line, told: credible(row.get(6)?, now) })
    })?;
    rows.collect()
}

fn compare(known: &[Known], current: &[Line], now: i64, every: i64) -> Changes {
    let index: HashMap<(&str, &str), &Known> =
        known.iter().map(|k| ((k.line.subject.as_str(), k.line.kind.as_str()), k)).collect();
    let still = |line: &Line| index.get(&(line.subject.as_str(), line.kind.as_str())).copied();
    let here: std::collections::HashSet<(&str, &str)> =
        current.iter().map(|line| (line.subject.as_str(), line.kind.as_str())).collect();
    let new: Vec<Line> = current.iter().filter(|line| still(line).is_none()).cloned().collect();
    let due = |known: &Known| known.told.is_none_or(|told| now - told >= every);
    let persisting = current.iter().filter(|line| still(line).is_some_and(due));
    let recovered = known.iter().filter(|k| !here.contains(&(k.line.subject.as_str(), k.line.kind.as_str())));
    Changes {
        new,
        persisting: persisting.cloned().collect(),
        recovered: recovered.map(|k| k.line.clone()).collect(),
    }
}

fn queue(tx: &Transaction<'_>, channel: &str, message: &Message, now: i64) -> rusqlite::Result<()> {
    let json = serde_json::to_string(message)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    tx.execute(
        "INSERT INTO outbox (channel, created, message) VALUES (?1, ?2, ?3)",
        params![channel, now, json],
    )?;
    Ok(())
}

impl History {
    /// The state of the channels with these names and kinds.
    pub(super) fn channels(
        &self,
        kinds: &[(String, &'static str)],
        now: &Zoned,
    ) -> Result<Vec<ChannelEntry>> {
        let now = millis(now);
        self.read(|tx| {
            let mut entries = Vec::new();
            for (name, kind) in kinds {
                let waiting: i64 = tx.query_row(
                    "SELECT count(*) FROM outbox WHERE channel = ?1 AND delivered IS NULL AND dropped IS NULL",
                    [name],
                    |row| row.get(0),
                )?;
                let mut entry = ChannelEntry {
                    channel: name.clone(),
                    kind: (*kind).to_owned(),
                    last_delivery: None,
                    waiting: unsigned(waiting),
                    failing_since: None,
                    error: None,
                };
                let mut statement =
                    tx.prepare("SELECT last_delivery, failing_since, error FROM channel WHERE name = ?1")?;
                let mut rows = statement.query([name])?;
                if let Some(row) = rows.next()? {
                    let last = row.get::<_, Option<i64>>(0)?;
                    entry.last_delivery = last.and_then(|time| credible(time, now)).map(zoned);
                    // A failure must be shown, even if the clock was wrong when it began.
                    entry.failing_since = row.get::<_, Option<i64>>(1)?.map(|time| zoned(time.min(now)));
                    entry.error = row.get(2)?;
                }
                entries.push(entry);
            }
            Ok(entries)
        })
    }
}
