//! The schema of the history. Later versions append to [`STEPS`] and never change a step.
//!
//! Times are milliseconds since 1970. In an attempt they are relative to the start of its run, and its snapshot is the
//! first eight bytes of the id: this keeps the database small with ten thousand items a night.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Error, Result};

/// The migrations, one for each version.
const STEPS: [&str; 6] = ["
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Error texts, each once: the same failure comes again every night.
CREATE TABLE text (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);

-- Every item ever seen. The name of a source itself is ''.
CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    first_run INTEGER,
    last_seen INTEGER,
    excluded TEXT,
    gone_since INTEGER,
    last_run INTEGER,
    last_time INTEGER,
    failed_since INTEGER,
    error TEXT,
    good_run INTEGER,
    good_time INTEGER,
    good_millis INTEGER,
    rows INTEGER,
    bytes INTEGER,
    notes TEXT,
    trend BLOB,
    size_base INTEGER NOT NULL DEFAULT 0,
    fingerprint BLOB,
    changed INTEGER,
    changes INTEGER NOT NULL DEFAULT 0,
    longest_still INTEGER NOT NULL DEFAULT 0,
    proof_time INTEGER,
    UNIQUE (source, name)
);

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    invocation TEXT,
    started INTEGER NOT NULL,
    ended INTEGER,
    outcome TEXT,
    error TEXT,
    forgotten INTEGER,
    told INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX run_open ON run (id) WHERE ended IS NULL;

CREATE TABLE attempt (
    run INTEGER NOT NULL,
    item INTEGER NOT NULL,
    began INTEGER NOT NULL,
    took INTEGER,
    outcome INTEGER,
    bytes_read INTEGER,
    bytes_added INTEGER,
    bytes INTEGER,
    rows INTEGER,
    snapshot INTEGER,
    error INTEGER,
    PRIMARY KEY (run, item)
) WITHOUT ROWID;

-- The sources of a run; without a time it has not answered.
CREATE TABLE discovery (
    run INTEGER NOT NULL,
    source TEXT NOT NULL,
    time INTEGER,
    items INTEGER,
    excluded INTEGER,
    error INTEGER,
    PRIMARY KEY (run, source)
) WITHOUT ROWID;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    item INTEGER NOT NULL,
    what TEXT NOT NULL,
    detail TEXT
);
CREATE INDEX event_item ON event (item);

-- Tables, collections and the like, as the last good backup had them.
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL,
    kind TEXT NOT NULL,
    schema TEXT NOT NULL,
    name TEXT NOT NULL,
    rows INTEGER NOT NULL,
    digest BLOB NOT NULL,
    changed INTEGER NOT NULL,
    gone INTEGER,
    trend BLOB NOT NULL,
    UNIQUE (item, kind, schema, name)
);

CREATE TABLE anomaly (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL,
    kind TEXT NOT NULL,
    object TEXT NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    text TEXT NOT NULL,
    run INTEGER,
    time INTEGER NOT NULL,
    accepted INTEGER,
    resolved INTEGER
);
CREATE INDEX anomaly_open ON anomaly (item) WHERE accepted IS NULL AND resolved IS NULL;
CREATE INDEX anomaly_item ON anomaly (item, kind);

-- The repository's snapshots, so that only new ones are read.
CREATE TABLE snapshot (
    id BLOB PRIMARY KEY,
    item INTEGER,
    time INTEGER,
    bytes INTEGER
) WITHOUT ROWID;

CREATE TABLE drill (
    id INTEGER PRIMARY KEY,
    run INTEGER,
    item INTEGER NOT NULL,
    snapshot BLOB NOT NULL,
    snapshot_time INTEGER NOT NULL,
    time INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    took INTEGER,
    detail TEXT
);
CREATE INDEX drill_item ON drill (item, time);

-- Problems that somebody has been told of.
CREATE TABLE incident (
    id INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    hint TEXT,
    since INTEGER,
    opened INTEGER NOT NULL,
    told INTEGER NOT NULL,
    resolved INTEGER
);
CREATE UNIQUE INDEX incident_open ON incident (subject, kind) WHERE resolved IS NULL;

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    created INTEGER NOT NULL,
    message TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER,
    delivered INTEGER,
    dropped INTEGER,
    error TEXT
);
CREATE INDEX outbox_waiting ON outbox (channel, id) WHERE delivered IS NULL AND dropped IS NULL;

CREATE TABLE channel (
    name TEXT PRIMARY KEY,
    last_delivery INTEGER,
    failing_since INTEGER,
    error TEXT
) WITHOUT ROWID;
", "
-- Of the last drills: which snapshot was proven, which could not be restored, why nothing could be proven, how long a
-- restore takes, and which part of the files was read last.
ALTER TABLE item ADD COLUMN proof_snapshot BLOB;
ALTER TABLE item ADD COLUMN unproven_since INTEGER;
ALTER TABLE item ADD COLUMN unproven_time INTEGER;
ALTER TABLE item ADD COLUMN unproven_text TEXT;
ALTER TABLE item ADD COLUMN unprovable_text TEXT;
ALTER TABLE item ADD COLUMN restore_millis INTEGER;
ALTER TABLE item ADD COLUMN drill_millis INTEGER;
ALTER TABLE item ADD COLUMN drill_part INTEGER;
CREATE INDEX drill_open ON drill (run) WHERE outcome = 4;
", "
-- Why nothing in the newest snapshot could be checked, if that is so.
ALTER TABLE item ADD COLUMN unchecked TEXT;
-- Drills took over advice of the restore: to drop or empty a database, which in the scratch server has the name of the source's.
UPDATE item SET unproven_text = substr(unproven_text, 1, instr(unproven_text, char(10) || '  → ') - 1)
WHERE unproven_text LIKE '%' || char(10) || '  → %database % before the next try';
UPDATE item SET unprovable_text = substr(unprovable_text, 1, instr(unprovable_text, char(10) || '  → ') - 1)
WHERE unprovable_text LIKE '%' || char(10) || '  → %database % before the next try';
UPDATE drill SET detail = substr(detail, 1, instr(detail, char(10) || '  → ') - 1)
WHERE detail LIKE '%' || char(10) || '  → %database % before the next try';
UPDATE event SET detail = substr(detail, 1, instr(detail, char(10) || '  → ') - 1)
WHERE detail LIKE '%' || char(10) || '  → %database % before the next try';
", "
-- What backups lack because it could not be read: the first backup without it of those up to now, none if the newest has it
-- and only that its absence was accepted is remembered; the last backup without it; and when that was accepted.
CREATE TABLE omitted (
    item INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER,
    seen INTEGER NOT NULL,
    accepted INTEGER,
    PRIMARY KEY (item, kind, name)
) WITHOUT ROWID;
CREATE INDEX omitted_since ON omitted (item, since);
", "
-- Which host made a snapshot: '' if another program did, none if that was not looked at yet. Snapshots of other hosts belong to
-- no item; the name of their source is kept.
ALTER TABLE snapshot ADD COLUMN host TEXT;
ALTER TABLE snapshot ADD COLUMN source TEXT;
", "
-- The partitioned table that a table is a part of, and what was left of an object when an operator accepted its loss: of losses
-- accepted before, what was left when they were found.
ALTER TABLE object ADD COLUMN part_of TEXT;
ALTER TABLE anomaly ADD COLUMN remaining INTEGER;
UPDATE anomaly SET remaining = after WHERE accepted IS NOT NULL;
"];

/// Migrates a database to the current schema.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version = version(connection)?;
    if usize::try_from(version).is_ok_and(|version| version >= STEPS.len()) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (done, step) in STEPS.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", done as i64 + 1)?;
    }
    transaction.commit()
}

/// Refuses a database with a newer schema.
pub(super) fn require_known(connection: &Connection) -> Result<()> {
    let version = version(connection).map_err(|e| super::failed(&e))?;
    if usize::try_from(version).is_ok_and(|version| version <= STEPS.len()) {
        return Ok(());
    }
    Err(Error::failed(format!("the history has layout {version}, which this version does not know"))
        .hint("use the newer tik-backup that made it, or set `state_dir` to another directory"))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn advice_that_drills_took_over_from_restores_is_taken_out_once() {
        let mut history = Connection::open_in_memory().unwrap();
        STEPS[..2].iter().for_each(|step| history.execute_batch(step).unwrap());
        history.pragma_update(None, "user_version", 2).unwrap();
        let found = "pg_restore: error: no such thing";
        let other = format!("{found}\n  → name a directory with more room in `drill.dir`");
        for (name, text) in [
            (
                "drop",
                format!(
                    "{found}\n  → the database shop was created by this restore and is incomplete: drop it before the next try"
                ),
            ),
            (
                "empty",
                format!(
                    "{found}\n  → look there; the database a → b may hold a part of the data: empty it before the next try"
                ),
            ),
            ("other", other.clone()),
        ] {
            let item = "INSERT INTO item (source, name, kind, first_seen, unproven_text, unprovable_text) VALUES ('s', ?1, 'k', 0, ?2, ?2)";
            history.execute(item, [name, &text]).unwrap();
            let drill = "INSERT INTO drill (item, snapshot, snapshot_time, time, outcome, detail) VALUES (1, x'00', 0, 0, 1, ?1)";
            history.execute(drill, [&text]).unwrap();
            history
                .execute(
                    "INSERT INTO event (time, item, what, detail) VALUES (0, 1, 'unproven', ?1)",
                    [&text],
                )
                .unwrap();
        }
        migrate(&mut history).unwrap();
        for query in [
            "SELECT unproven_text FROM item ORDER BY id",
            "SELECT unprovable_text FROM item ORDER BY id",
            "SELECT detail FROM drill ORDER BY id",
            "SELECT detail FROM event ORDER BY id",
        ] {
            let mut statement = history.prepare(query).unwrap();
            let texts: Vec<String> =
                statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            assert_eq!(texts, [found, found, &other], "{query}");
        }
    }

    #[test]
    fn a_history_of_the_layout_before_gains_what_backups_lack_and_keeps_its_own() {
        let mut history = Connection::open_in_memory().unwrap();
        STEPS[..3].iter().for_each(|step| history.execute_batch(step).unwrap());
        history.pragma_update(None, "user_version", 3).unwrap();
        let item =
            "INSERT INTO item (source, name, kind, first_seen, unchecked) VALUES ('s', 'i', 'k', 7, 'why')";
        history.execute(item, []).unwrap();
        migrate(&mut history).unwrap();
        assert_eq!(version(&history).unwrap(), STEPS.len() as i64);
        let kept = history.query_row("SELECT first_seen, unchecked FROM item", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        });
        assert_eq!(kept.unwrap(), (7, "why".to_owned()));
        let lacking: i64 = history.query_row("SELECT count(*) FROM omitted", [], |row| row.get(0)).unwrap();
        assert_eq!(lacking, 0);
    }

    #[test]
    fn losses_accepted_before_count_by_what_was_left_when_they_were_found() {
        let mut history = Connection::open_in_memory().unwrap();
        STEPS[..4].iter().for_each(|step| history.execute_batch(step).unwrap());
        history.pragma_update(None, "user_version", 4).unwrap();
        for accepted in [Some(5), None] {
            let anomaly = "INSERT INTO anomaly (item, kind, object, before, after, text, time, accepted) \
                           VALUES (1, 'rows', 'a', 1000, 400, '', 1, ?1)";
            history.execute(anomaly, [accepted]).unwrap();
        }
        migrate(&mut history).unwrap();
        let mut statement = history.prepare("SELECT remaining FROM anomaly ORDER BY id").unwrap();
        let remaining: Vec<Option<i64>> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(remaining, [Some(400), None]);
    }
}
