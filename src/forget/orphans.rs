//! Snapshots that this configuration does not back up: of other hosts, of sources that were removed from the configuration, of items that vanished.

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use super::{Standing, Why};
use crate::{
    config::Config,
    error::Result,
    known,
    repository::{Hosts, Repository, Snapshot, patiently, shares},
    stream::cancel::Cancel,
};

/// Snapshots of an item that this configuration does not back up. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct Orphan {
    /// The host that made them.
    pub host: String,
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Why this configuration does not back it up.
    pub why: Why,
    /// The number of snapshots.
    pub snapshots: u64,
    /// Bytes of the files in all of them; what removing them frees is less, as they share content.
    pub bytes: u64,
    /// The time of the newest that is not dated in the future.
    #[serde(with = "crate::moment::option")]
    pub newest: Option<Zoned>,
    /// Whether the newest is so recent that another host or configuration probably still backs up the item.
    pub recent: bool,
}

/// Lists all of them, or those of one host, by host and item.
///
/// # Errors
/// The repository cannot be read or has no snapshot of this host, or the history cannot be read.
pub fn orphans(
    config: &Config,
    host: Option<&str>,
    notice: &(dyn Fn(&str) + Sync),
    cancel: &Cancel,
) -> Result<Vec<Orphan>> {
    patiently(config.repository.retry_for, cancel, notice, |patience| {
        let repository = Repository::open_patiently(&config.repository, patience)?;
        listed(config, host, &repository, notice)
    })
}

fn listed(
    config: &Config,
    host: Option<&str>,
    repository: &Repository,
    notice: &dyn Fn(&str),
) -> Result<Vec<Orphan>> {
    let (mut all, damaged) = repository.readable_snapshots(Hosts::All)?;
    damaged.iter().for_each(|error| notice(&format!("warning: {error}")));
    if let Some(host) = host {
        if host != repository.host() && !all.iter().any(|snapshot| snapshot.host == host) {
            return Err(known::no_such_host(host, &shares(&all)));
        }
        all.retain(|snapshot| snapshot.host == host);
    }
    let now = Timestamp::now();
    let mut by_item: BTreeMap<(&str, &str, &str), Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in &all {
        by_item.entry((&snapshot.host, &snapshot.source, &snapshot.item)).or_default().push(snapshot);
    }
    let standing = Standing::of(config, false)?;
    let mut orphans = Vec::new();
    for ((host, source, item), of_item) in by_item {
        let why = if host == repository.host() { standing.why(source, item)? } else { Some(Why::OtherHost) };
        let Some(why) = why else { continue };
        let (snapshots, bytes) = (of_item.len() as u64, of_item.iter().map(|snapshot| snapshot.bytes).sum());
        let newest = shares(of_item).into_iter().next().and_then(|share| share.newest);
        orphans.push(Orphan {
            host: host.to_owned(),
            source: source.to_owned(),
            item: item.to_owned(),
            why,
            snapshots,
            bytes,
            recent: newest.as_ref().is_some_and(|newest| crate::survey::is_recent(newest, now)),
            newest,
        });
    }
    Ok(orphans)
}
