//! Removes snapshots that are no longer needed, in two steps: they are listed, and then exactly the listed ones are removed.

mod orphans;

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use orphans::{Orphan, orphans};

use crate::{
    backup::Selector,
    config::Config,
    error::{Error, Result},
    history::{Check, History},
    known::{self, Asked, Name},
    output,
    repository::{
        At, Hosts, LockOptions, Patience, Repository, Snapshot, foreign_hint, holders, patiently, shares,
    },
    stream::cancel::Cancel,
    survey::is_recent,
};

/// The arguments of `forget`.
#[derive(Debug, Clone)]
pub struct Request {
    /// Sources or items; all of the host if empty, which only goes with ids.
    pub selectors: Vec<Selector>,
    /// Only the snapshots whose ids have these prefixes.
    pub ids: Vec<String>,
    /// The code of the list that was shown; without it nothing is removed.
    pub confirm: Option<String>,
    /// Whether the host is not the configured one.
    pub foreign: bool,
}

/// A snapshot that is to be removed. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// Whether it is the newest of its item, not counting those dated in the future.
    pub newest: bool,
}

/// The snapshots that would be removed, or were. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The host that made the snapshots.
    pub host: String,
    /// The snapshots, by item and time.
    pub snapshots: Vec<Listed>,
    /// The code for `--confirm` that removes exactly these.
    pub confirm: String,
    /// Whether they were removed.
    pub removed: bool,
    /// Whether nothing was removed because the list has changed since it was shown.
    pub changed: bool,
    /// Warnings to consider before.
    pub notes: Vec<String>,
}

/// Lists the snapshots that `request` names, and removes them if confirmed.
///
/// # Errors
/// Names or ids that do not exist, items that are still backed up, or an error of the repository.
pub fn run(
    config: &Config,
    request: &Request,
    notice: &(dyn Fn(&str) + Sync),
    cancel: &Cancel,
) -> Result<Report> {
    patiently(config.repository.retry_for, cancel, notice, |patience| {
        run_patiently(config, request, notice, patience, cancel)
    })
}

fn run_patiently(
    config: &Config,
    request: &Request,
    notice: &dyn Fn(&str),
    patience: &Patience,
    cancel: &Cancel,
) -> Result<Report> {
    let repository = Repository::open_patiently(&config.repository, patience)?;
    // The same lock as for the retention: no prune runs at the same time, or sees only a part of the removals.
    let _lock = match request.confirm {
        Some(_) => Some(repository.lock(&LockOptions {
            exclusive: false,
            wait: config.repository.lock_wait,
            cancel,
            notice,
        })?),
        None => None,
    };
    let (all, damaged) = repository.readable_snapshots(Hosts::All)?;
    damaged.iter().for_each(|error| notice(&format!("warning: {error}")));
    let (own, others): (Vec<Snapshot>, Vec<Snapshot>) =
        all.into_iter().partition(|snapshot| snapshot.host == repository.host());
    let standing = Standing::of(config, request.foreign)?;
    let chosen = choose(config, request, &standing, &own, &others)?;
    let ids: HashSet<&str> = chosen.iter().map(|snapshot| snapshot.id.as_str()).collect();
    let mut report = Report {
        host: repository.host().to_owned(),
        confirm: code(&chosen),
        removed: false,
        changed: false,
        notes: notes(&standing, &own, &ids)?,
        snapshots: listed(&chosen, &own),
    };
    match &request.confirm {
        Some(code) if *code == report.confirm => {
            if let Some(history) = &standing.history {
                history.will_forget(chosen.iter().map(|snapshot| snapshot.id.as_str()))?;
            }
            repository.forget(&chosen)?;
            report.removed = true;
        }
        Some(_) => report.changed = true,
        None => {}
    }
    Ok(report)
}

/// A code that identifies a list of snapshots.
fn code(chosen: &[&Snapshot]) -> String {
    let mut ids: Vec<&str> = chosen.iter().map(|snapshot| snapshot.id.as_str()).collect();
    ids.sort_unstable();
    let hash = Sha256::digest(ids.concat());
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn listed(chosen: &[&Snapshot], own: &[Snapshot]) -> Vec<Listed> {
    let newest: HashSet<&str> = newest(own).values().map(|snapshot| snapshot.id.as_str()).collect();
    let one = |snapshot: &&Snapshot| Listed {
        snapshot: (*snapshot).clone(),
        newest: newest.contains(snapshot.id.as_str()),
    };
    chosen.iter().map(one).collect()
}

/// The newest snapshot of each item; one dated in the future only where there is no other.
fn newest(snapshots: &[Snapshot]) -> BTreeMap<(&str, &str), &Snapshot> {
    let now = Timestamp::now();
    let rank = |one: &Snapshot| (!one.is_ahead(now), one.time.timestamp());
    let mut newest: BTreeMap<(&str, &str), &Snapshot> = BTreeMap::new();
    for snapshot in snapshots {
        let known = newest.entry((&snapshot.source, &snapshot.item)).or_insert(snapshot);
        if rank(known) < rank(snapshot) {
            *known = snapshot;
        }
    }
    newest
}

/// The items that are still backed up, according to configuration and history.
struct Standing<'a> {
    config: &'a Config,
    foreign: bool,
    history: Option<History>,
}

/// Why an item is no longer backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Another host made it.
    OtherHost,
    /// Its source is no longer in the configuration.
    Unconfigured,
    /// Its source no longer has it.
    Vanished,
    /// A rule excludes it.
    Excluded,
}

impl Why {
    /// As text.
    pub fn text(self) -> &'static str {
        match self {
            Self::OtherHost => "of another host",
            Self::Unconfigured => "its source is no longer configured",
            Self::Vanished => "its source no longer has it",
            Self::Excluded => "excluded by a rule",
        }
    }
}

impl<'a> Standing<'a> {
    fn of(config: &'a Config, foreign: bool) -> Result<Self> {
        let there = !foreign && History::exists(&config.state_dir);
        let history = if there { Some(History::open(config, Check::Quick)?) } else { None };
        Ok(Self { config, foreign, history })
    }

    /// Why it is no longer backed up; none if it still is, or if that is unknown.
    fn why(&self, source: &str, item: &str) -> Result<Option<Why>> {
        if self.foreign {
            return Ok(Some(Why::OtherHost));
        }
        if self.config.source(source).is_none() {
            // A configuration without any source says nothing about sources.
            return Ok((!self.config.sources.is_empty()).then_some(Why::Unconfigured));
        }
        let Some(history) = &self.history else { return Ok(None) };
        Ok(history.absence(source, item)?.map(|gone| if gone { Why::Vanished } else { Why::Excluded }))
    }
}

fn choose<'s>(
    config: &Config,
    request: &Request,
    standing: &Standing<'_>,
    own: &'s [Snapshot],
    others: &[Snapshot],
) -> Result<Vec<&'s Snapshot>> {
    let meant = |s: &Snapshot| {
        request.selectors.is_empty() || request.selectors.iter().any(|i| i.matches(&s.source, &s.item))
    };
    known::require_host(config, own, others)?;
    for selector in &request.selectors {
        if !own.iter().any(|s| selector.matches(&s.source, &s.item)) {
            let name = Name { source: &selector.source, item: selector.item.as_deref() };
            let asked = Asked { command: "forget", at: &At::Latest, removes: true };
            return Err(known::absent(config, asked, name, own, others));
        }
    }
    let matching: Vec<&Snapshot> = own.iter().filter(|snapshot| meant(snapshot)).collect();
    let mut chosen = if request.ids.is_empty() {
        for snapshot in &matching {
            if standing.why(&snapshot.source, &snapshot.item)?.is_none() {
                return Err(still_backed_up(config, snapshot));
            }
        }
        matching
    } else {
        let by_id = |id: &String| only(config, id, &matching, others);
        request.ids.iter().map(by_id).collect::<Result<Vec<_>>>()?
    };
    chosen.sort_by(|a, b| (&a.source, &a.item, &a.time, &a.id).cmp(&(&b.source, &b.item, &b.time, &b.id)));
    chosen.dedup_by(|a, b| a.id == b.id);
    Ok(chosen)
}

fn still_backed_up(config: &Config, snapshot: &Snapshot) -> Error {
    let name = output::name(&snapshot.name());
    if config.sources.is_empty() {
        return Error::usage(format!(
            "the configuration has no sources, so it is unknown whether {name} is still backed up"
        ))
        .hint("name single snapshots with --id, or another host with --host");
    }
    Error::usage(format!("{name} is still backed up by this host: its old snapshots are removed by the retention")).hint(
        format!(
            "--id ID removes a single snapshot, `tik-backup snapshots '{name}'` lists them; to remove all of them, first remove it from the configuration"
        ),
    )
}

/// The snapshot whose id has this prefix.
fn only<'s>(
    config: &Config,
    id: &str,
    matching: &[&'s Snapshot],
    others: &[Snapshot],
) -> Result<&'s Snapshot> {
    let prefix = id.to_ascii_lowercase();
    if !(4..=64).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::usage(format!("`{id}` is not the id of a snapshot"))
            .hint("`tik-backup snapshots` lists them; four digits or more are enough"));
    }
    let mut found = matching.iter().filter(|snapshot| snapshot.id.starts_with(&prefix));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Error::usage(format!("the ids of several snapshots begin with {prefix}"))
            .hint("write more digits of it")),
        (None, _) => {
            let error = Error::usage(format!("there is no snapshot whose id begins with {prefix}"));
            let theirs = shares(others.iter().filter(|snapshot| snapshot.id.starts_with(&prefix)));
            if theirs.is_empty() {
                return Err(error.hint("`tik-backup snapshots --all-hosts` lists what is stored"));
            }
            let command = format!("forget --id {prefix}");
            Err(error.hint(foreign_hint(config, &command, &theirs, true, true)))
        }
    }
}

/// Warnings to consider before these are removed.
fn notes(standing: &Standing<'_>, own: &[Snapshot], ids: &HashSet<&str>) -> Result<Vec<String>> {
    let mut by_item: BTreeMap<(&str, &str), Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in own {
        by_item.entry((&snapshot.source, &snapshot.item)).or_default().push(snapshot);
    }
    let newest = newest(own);
    let (mut notes, mut bare) = (Vec::new(), Vec::new());
    for ((source, item), of_item) in &by_item {
        if !of_item.iter().any(|snapshot| ids.contains(snapshot.id.as_str())) {
            continue;
        }
        let name = output::name(&format!("{source}/{item}"));
        if of_item.iter().all(|snapshot| ids.contains(snapshot.id.as_str())) {
            bare.push(name.clone());
        } else if newest.get(&(*source, *item)).is_some_and(|newest| ids.contains(newest.id.as_str())) {
            notes.push(format!("{name}: the newest snapshot is among them"));
        }
        let Some(history) = &standing.history else { continue };
        if history.held_from(source, item)?.is_some() {
            notes.push(format!(
                "{name}: its old snapshots are held because the item is suspicious or does not restore: \
                 `tik-backup status` shows why"
            ));
        }
        let times: Vec<(&str, i64)> =
            of_item.iter().map(|s| (s.id.as_str(), s.time.timestamp().as_millisecond())).collect();
        if holders(&times, &history.lacking_since(source, item)?).iter().any(|id| ids.contains(id)) {
            notes
                .push(format!("{name}: the newest snapshot with objects that later ones lack is among them"));
        }
    }
    notes.extend(left_bare(&bare));
    notes.extend(still_alive(standing, own, ids)?);
    Ok(notes)
}

/// Warnings about recent snapshots among those to remove: another host, or another configuration of this one, probably still backs up the item.
fn still_alive(standing: &Standing<'_>, own: &[Snapshot], ids: &HashSet<&str>) -> Result<Vec<String>> {
    let now = Timestamp::now();
    if standing.foreign {
        let share = shares(own);
        let newest = share.first().and_then(|share| Some((&share.host, share.newest.as_ref()?)));
        let alive = newest.filter(|(_, newest)| is_recent(newest, now)).map(|(host, newest)| {
            let (host, made) = (output::name(host), output::time(newest));
            format!("the host {host} made a snapshot on {made}: make sure that it no longer backs up into this repository")
        });
        return Ok(alive.into_iter().collect());
    }
    let mut by_source: BTreeMap<&str, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in own {
        by_source.entry(&snapshot.source).or_default().push(snapshot);
    }
    let mut notes = Vec::new();
    for (source, of_source) in by_source {
        let Some(one) = of_source.iter().find(|snapshot| ids.contains(snapshot.id.as_str())) else {
            continue;
        };
        if standing.why(source, &one.item)? != Some(Why::Unconfigured) {
            continue;
        }
        let newest = shares(of_source).into_iter().next().and_then(|share| share.newest);
        if let Some(newest) = newest.filter(|newest| is_recent(newest, now)) {
            notes.push(format!(
                "the source {}, which this configuration does not have, made a snapshot on {}: make sure that no other configuration of \
                 this host still backs it up",
                output::name(source),
                output::time(&newest)
            ));
        }
    }
    Ok(notes)
}

/// Items without any snapshot left.
fn left_bare(names: &[String]) -> Option<String> {
    const FEW: usize = 5;
    if names.is_empty() {
        return None;
    }
    let more = names.len().saturating_sub(FEW);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "no snapshot of this host is left of {}{more}",
        names.iter().take(FEW).cloned().collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
