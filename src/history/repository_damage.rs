//! Known damage of the repository, until a check is clean. A backup that finds packs missing removes them from the
//! index, so later commands cannot see the loss: it must be recorded.

use jiff::Zoned;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::{
    Check, History,
    ledger::{Problem, ProblemKind},
    millis, zoned,
};
use crate::{
    config::Config,
    error::{Error, Result},
    output::count,
    repository::{CheckReport, Repository},
};

/// Key of the damage.
const KEY: &str = "repository_damage";
/// Number of damaged packs recorded.
const PACKS: usize = 1000;

/// The damage, by the operation that found it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Damage {
    /// Packs found missing by a backup, a prune or a repair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<Observation>,
    /// Found by a check without reading data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    structure: Option<Observation>,
    /// Found by a check that read data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Observation {
    /// When first, in milliseconds since 1970.
    time: i64,
    text: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    time: i64,
    /// Ids of damaged packs.
    packs: Vec<String>,
}

impl Damage {
    fn load(tx: &Transaction<'_>) -> rusqlite::Result<Self> {
        let text = History::meta(tx, KEY)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    fn store(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        if *self == Self::default() {
            return tx.execute("DELETE FROM meta WHERE key = ?1", params![KEY]).map(|_| ());
        }
        History::set_meta(tx, KEY, &serde_json::to_string(self).unwrap_or_default())
    }

    fn since(&self) -> Option<i64> {
        let seen = self.lost.iter().chain(&self.structure).map(|seen| seen.time);
        seen.chain(self.content.iter().map(|content| content.time)).min()
    }

    /// Updates the damage from the result of a check.
    fn take(&mut self, report: &CheckReport, now: i64) {
        // A check finds everything that a backup could have found missing.
        self.lost = None;
        let since = self.structure.take().map_or(now, |seen| seen.time);
        self.structure = report.structure_damage().map(|text| Observation { time: since, text });
        let (since, before) =
            self.content.take().map_or((now, Vec::new()), |known| (known.time, known.packs));
        // Damaged packs that were not read again are still damaged, unless they were moved away.
        let mut packs: Vec<String> =
            before.into_iter().filter(|id| report.may_still_be_damaged(id)).collect();
        packs.extend(report.damaged_packs());
        packs.sort_unstable();
        packs.dedup();
        packs.truncate(PACKS);
        self.content = (!packs.is_empty()).then_some(Content { time: since, packs });
    }

    fn problem(&self) -> Option<Problem> {
        let since = self.since()?;
        let mut texts: Vec<String> =
            self.lost.iter().chain(&self.structure).map(|seen| seen.text.clone()).collect();
        texts.extend(self.content.as_ref().map(|content| {
            let packs = count(content.packs.len(), "pack");
            format!("the content of {packs} is damaged, as `tik-backup check --read-data` has found")
        }));
        let mut hint =
            "`tik-backup check` says which snapshots are incomplete and what to do about it".to_owned();
        if self.content.is_some() {
            hint.push_str(
                "; `tik-backup repair packs ID…` moves damaged packs away, and `tik-backup check --read-data` names them",
            );
        }
        hint.push_str("; this stays a problem until a check is clean (docs/operations.md, \"Damage\")");
        Some(Problem {
            kind: ProblemKind::Damage,
            since: Some(zoned(since)),
            text: texts.join("; "),
            hint: Some(hint),
            items: None,
            shared: None,
        })
    }
}

impl History {
    /// The history of this repository, if it exists.
    ///
    /// # Errors
    /// It exists and cannot be used.
    pub fn existing(config: &Config, repository: &Repository) -> Result<Option<Self>> {
        // Opening would create one.
        if !Self::exists(&config.state_dir) {
            return Ok(None);
        }
        let history = Self::open(config, Check::Quick)?;
        history.meet(repository, Check::Quick)?;
        Ok(Some(history))
    }

    /// Records a loss in the repository: a problem in every ledger until a check is clean.
    ///
    /// # Errors
    /// The history cannot be written.
    pub fn note_loss(&self, loss: &Error, now: &Zoned) -> Result<()> {
        let now = millis(now);
        self.change(|tx| {
            let mut damage = Damage::load(tx)?;
            let time = damage.lost.take().map_or(now, |seen| seen.time);
            damage.lost = Some(Observation { time, text: loss.summary() });
            damage.store(tx)
        })
    }

    /// Records the result of a check.
    ///
    /// # Errors
    /// The history cannot be written.
    pub fn note_check(&self, report: &CheckReport, now: &Zoned) -> Result<()> {
        let now = millis(now);
        self.change(|tx| {
            let mut damage = Damage::load(tx)?;
            damage.take(report, now);
            damage.store(tx)
        })
    }

    /// The problem that the repository is damaged, if it is known to be.
    pub(super) fn damage_of_repository(&self) -> Result<Option<Problem>> {
        Ok(self.read(Damage::load)?.problem())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_a_problem_until_a_check_is_clean() {
        let history = History::in_memory().unwrap();
        let (begin, later): (Zoned, Zoned) =
            ("2026-11-20T02:00:00[UTC]".parse().unwrap(), "2026-11-21T02:00:00[UTC]".parse().unwrap());
        assert_eq!(history.damage_of_repository().unwrap(), None);
        history.note_loss(&Error::failed("1 pack is gone"), &begin).unwrap();
        history.note_loss(&Error::failed("2 packs are gone"), &later).unwrap();
        let problem = history.damage_of_repository().unwrap().unwrap();
        assert_eq!((problem.kind, problem.text.as_str()), (ProblemKind::Damage, "2 packs are gone"));
        assert_eq!(problem.since.unwrap().timestamp(), begin.timestamp());

        let damaged = CheckReport { errors: vec!["a blob is missing".to_owned()], ..CheckReport::default() };
        history.note_check(&damaged, &later).unwrap();
        let problem = history.damage_of_repository().unwrap().unwrap();
        assert!(problem.text.contains("a blob is missing") && !problem.text.contains("gone"), "{problem:?}");
        history.note_check(&CheckReport::default(), &later).unwrap();
        assert_eq!(history.damage_of_repository().unwrap(), None);
    }
}
