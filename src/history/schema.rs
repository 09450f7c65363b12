//! Tables of the history. A later version of the program adds a step to [`STEPS`] and never changes one.
//!
//! Times are milliseconds since 1970. In an attempt they count from the begin of its run, and its snapshot is the
//! first eight bytes of the id: ten thousand items a night must fit into little for years.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Error, Result};

/// What each version adds to the one before.
const STEPS: [&str; 3] = ["
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
"];

/// Brings a database to this version's layout.
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

/// Refuses a database of a later version: what that means is not known here.
pub(super) fn require_known(connection: &Connection) -> Result<()> {
    let version = version(connection).map_err(|e| super::failed(&e))?;
    if usize::try_from(version).is_ok_and(|version| version <= STEPS.len()) {
        return Ok(());
    }
    Err(Error::failed(format!("the history has layout {version}, which this version does not know"))
        .hint("use the newer tik-backup that made it, or name another folder with `state_dir`"))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
