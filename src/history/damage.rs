//! Problems of the history itself: it was damaged, or it cannot be written. An operator must know, because earlier
//! acceptances, failures and proofs are lost.

use std::path::Path;

use jiff::Zoned;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{
    History,
    ledger::{Problem, ProblemKind},
    millis,
    shared::credible,
    zoned,
};
use crate::error::{Error, Result};

/// Key of the damage that is not accepted yet.
const DAMAGED: &str = "damaged";

/// A history that was damaged and set aside, or lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// When, in milliseconds since 1970.
    time: i64,
    /// The file it was set aside as; or the missing file, if it is gone.
    pub file: String,
    /// It is not damaged but gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl Damage {
    fn text(&self) -> String {
        let Self { file, gone, .. } = self;
        let what = if *gone {
            format!("the history was lost: {file} is gone")
        } else {
            format!("the history was damaged and has been set aside as {file}")
        };
        format!(
            "{what}; a new one was built from the repository; earlier acceptances, proofs, failures and vanished items are lost, and so are queued alerts"
        )
    }

    fn hint(&self) -> String {
        let look = if self.gone {
            "find out what removed it, and whether `state_dir` survives a restart of the machine"
        } else {
            "check whether the disk of `state_dir` is failing or was full"
        };
        format!("{look}; then `tik-backup accept --history` (the next drills prove the backups again)")
    }
}

/// Records in a new history that the previous one was damaged, or that its file is `gone`.
pub(super) fn write_down(connection: &Connection, file: &Path, gone: bool) -> rusqlite::Result<()> {
    let damage = Damage { time: millis(&Zoned::now()), file: file.display().to_string(), gone };
    let text = serde_json::to_string(&damage).unwrap_or_default();
    connection
        .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [DAMAGED, text.as_str()])
        .map(|_| ())
}

impl Problem {
    /// The problem that the history cannot be written.
    pub(crate) fn of_history(error: &Error) -> Self {
        Self {
            kind: ProblemKind::History,
            since: None,
            text: format!("the history cannot be written: {}", error.summary()),
            hint: error.hint_text().map(str::to_owned),
            items: None,
            shared: None,
        }
    }
}

impl History {
    /// Sets the reason why the history cannot be used, which is a problem in every ledger built from it.
    pub fn fails_with(&self, error: &Error) {
        let mut failure = self.failure.lock();
        failure.get_or_insert_with(|| error.clone());
    }

    /// Why the history cannot be used, if set.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    /// The problem of the history, one at most.
    pub(super) fn own_problem(&self) -> Result<Option<Problem>> {
        if let Some(error) = self.failure() {
            return Ok(Some(Problem::of_history(&error)));
        }
        Ok(self.damage()?.map(|damage| Problem {
            kind: ProblemKind::History,
            since: credible(damage.time, millis(&Zoned::now())).map(zoned),
            text: damage.text(),
            hint: Some(damage.hint()),
            items: None,
            shared: None,
        }))
    }

    fn damage(&self) -> Result<Option<Damage>> {
        let text = self.read(|tx| Self::meta(tx, DAMAGED))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Accepts that the history was damaged or lost. Returns the damage, if there was one.
    pub fn accept_damage(&self, now: &Zoned) -> Result<Option<Damage>> {
        let now = millis(now);
        self.change(|tx| {
            let text: Option<String> = tx
                .query_row("SELECT value FROM meta WHERE key = ?1", [DAMAGED], |row| row.get(0))
                .optional()?;
            tx.execute("DELETE FROM meta WHERE key = ?1", [DAMAGED])?;
            // No recovery is alerted: the operator already knows.
            tx.execute(
                "UPDATE incident SET resolved = ?2 WHERE kind = ?1 AND resolved IS NULL",
                params![ProblemKind::History.as_str(), now],
            )?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })
    }
}
