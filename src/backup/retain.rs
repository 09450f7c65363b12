//! The retention after a run: snapshots are listed before they are removed.

use std::collections::HashMap;

use jiff::Zoned;
use serde::Serialize;

use super::{Observer, Plan, RunReport, Selector, recorder::Recorder};
use crate::{
    config::{Config, Retention},
    error::{Error, Result},
    history::{Check, FromTheFuture, History, from_the_future},
    outcome::ItemReport,
    output,
    repository::{Hosts, Repository, Snapshot},
};

/// At most this many snapshots of an item are named.
const NAMED: usize = 10;

type ByItem = HashMap<(String, String), Vec<Snapshot>>;

/// Applies the retention to every item that succeeded. A failure to apply it is a failure of the run, not of the item: the
/// backup itself exists.
pub(super) fn retain(
    config: &Config,
    repository: &Repository,
    recorder: &Recorder<'_>,
    report: &mut RunReport,
    observer: &dyn Observer,
) -> Result<()> {
    if !report.items.iter().any(ItemReport::is_understood) {
        return Ok(());
    }
    if !recorder.knows_holds() {
        observer.notice(
            "the retention was not applied: without the history it is not known which snapshots are held",
        );
        return Ok(());
    }
    let by_item = by_item(repository)?;
    let mut all = Vec::new();
    for item in report.items.iter().filter(|item| item.is_understood()) {
        let Some(name) = &item.item else { continue };
        let Some(source) = config.source(&item.source) else { continue };
        let Some(snapshots) = by_item.get(&(item.source.clone(), name.clone())) else { continue };
        if let Some(error) = ahead(&item.name(), snapshots) {
            let name = output::name(&item.name());
            observer.notice(&format!("{name}: retention is held for this item: {error}"));
            continue;
        }
        let _span = tracing::info_span!("retention", source = item.source, item = name).entered();
        let held = Held {
            from: recorder.held_from(&item.source, name)?,
            lacking: recorder.lacking_since(&item.source, name)?,
        };
        let expired = expired(repository, snapshots, &source.retention, &held)?;
        // The snapshot of this run must be kept, whatever the clock says.
        if expired.iter().any(|snapshot| Some(&snapshot.id) == item.snapshot.as_ref()) {
            observer.notice(&format!(
                "{}: the retention would remove the snapshot just made (is the clock right?); nothing was removed",
                item.name()
            ));
            continue;
        }
        all.push((item.name(), expired));
    }
    all.retain(|(_, expired)| !expired.is_empty());
    // All of them are listed before the first is removed.
    for (item, expired) in &all {
        observer.notice(&format!("{}: retention removes {}", output::name(item), listed(expired)));
    }
    let ids = all.iter().flat_map(|(_, expired)| expired).map(|snapshot| snapshot.id.as_str());
    recorder.will_forget(ids)?;
    for (item, expired) in &all {
        repository.forget(expired).map_err(|e| e.context(item))?;
        report.forgotten += expired.len() as u64;
    }
    Ok(())
}

/// Reasons to keep snapshots of an item beyond the rules.
struct Held {
    /// Only snapshots from this moment on (in milliseconds since 1970) may be removed.
    from: Option<i64>,
    /// Times from which on backups lack objects.
    lacking: Vec<i64>,
}

fn by_item(repository: &Repository) -> Result<ByItem> {
    let mut by_item = ByItem::new();
    for snapshot in repository.snapshots(Hosts::Own)? {
        by_item.entry((snapshot.source.clone(), snapshot.item.clone())).or_default().push(snapshot);
    }
    Ok(by_item)
}

/// The warning if a snapshot of an item is dated in the future.
fn ahead(item: &str, snapshots: &[Snapshot]) -> Option<Error> {
    let now = Zoned::now();
    let ahead: Vec<_> = snapshots.iter().filter(|snapshot| snapshot.is_ahead(now.timestamp())).collect();
    let last = ahead.iter().max_by_key(|snapshot| snapshot.time.timestamp())?;
    let found = FromTheFuture {
        ahead: ahead.len() as u64,
        all: snapshots.len() as u64,
        id: last.short_id(),
        last: &last.time,
        now: &now,
    };
    Some(from_the_future(item, found))
}

fn expired<'s>(
    repository: &Repository,
    snapshots: &'s [Snapshot],
    retention: &Retention,
    held: &Held,
) -> Result<Vec<&'s Snapshot>> {
    let mut expired = repository.expired(snapshots, retention)?;
    if let Some(from) = held.from {
        // The snapshots before the suspicious change may be the last good ones.
        expired.retain(|snapshot| snapshot.time.timestamp().as_millisecond() >= from);
    }
    repository.spare_holders(&mut expired, snapshots, &held.lacking);
    expired.sort_by(|a, b| a.time.cmp(&b.time));
    Ok(expired)
}

/// `2 snapshots: 3fa2c1d0 of 2026-11-20 02:00, …`
fn listed(expired: &[&Snapshot]) -> String {
    let one = |snapshot: &&Snapshot| {
        format!("{} of {}", snapshot.short_id(), snapshot.time.strftime("%Y-%m-%d %H:%M"))
    };
    let named: Vec<String> = expired.iter().take(NAMED).map(one).collect();
    let more = expired.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}: {}{more}", output::count(expired.len(), "snapshot"), named.join(", "))
}

/// What the retention would remove after a successful run of this plan.
#[derive(Debug, Serialize)]
pub struct Removal {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
}

impl Removal {
    /// As a sentence.
    pub fn text(&self) -> String {
        format!("retention would remove {}", listed(&self.snapshots.iter().collect::<Vec<_>>()))
    }
}

/// What the retention would remove if the items of `plan` that `selectors` name were backed up now. Nothing is changed.
///
/// # Errors
/// The repository or the history cannot be read.
pub fn preview(config: &Config, plan: &Plan, selectors: &[Selector]) -> Result<Vec<Removal>> {
    let repository = Repository::open(&config.repository)?;
    let mut by_item = by_item(&repository)?;
    if by_item.is_empty() {
        return Ok(Vec::new());
    }
    // Opening the history would create one.
    if !History::exists(&config.state_dir) {
        return Err(Error::failed("there is no history, so it is not known which snapshots are held")
            .hint("the next backup rebuilds the history from the repository"));
    }
    let history = History::open(config, Check::Quick)?;
    let mut removals = Vec::new();
    for planned in &plan.items {
        let (source, item) = (plan.sources[planned.source].0.name(), planned.item.name.as_str());
        let wanted = selectors.is_empty() || selectors.iter().any(|s| s.matches(source, item));
        let readable = planned.item.problem.is_none();
        let Some(configured) = config.source(source).filter(|_| wanted && readable) else { continue };
        let Some(mut snapshots) = by_item.remove(&(source.to_owned(), item.to_owned())) else { continue };
        if ahead(&format!("{source}/{item}"), &snapshots).is_some() {
            continue;
        }
        // Including the snapshot that the run would make.
        snapshots.push(Snapshot::planned(source, item, repository.host(), Zoned::now()));
        let held =
            Held { from: history.held_from(source, item)?, lacking: history.lacking_since(source, item)? };
        let mut expired = expired(&repository, &snapshots, &configured.retention, &held)?;
        expired.retain(|snapshot| !snapshot.is_planned());
        if !expired.is_empty() {
            let snapshots = expired.into_iter().cloned().collect();
            removals.push(Removal { source: source.to_owned(), item: item.to_owned(), snapshots });
        }
    }
    Ok(removals)
}
