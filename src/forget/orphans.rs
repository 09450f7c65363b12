//! What nothing adds to any more: snapshots of other hosts, of sources that left the configuration, of items that vanished.

use std::collections::BTreeMap;

use jiff::Zoned;
use serde::Serialize;

use super::{Standing, Why};
use crate::{
    config::Config,
    error::Result,
    repository::{Hosts, Repository, Snapshot, patiently, shares},
    stream::cancel::Cancel,
};

/// Snapshots of an item that nothing adds to. The field names are a promise.
#[derive(Debug, Clone, Serialize)]
pub struct Orphan {
    /// The host that made them.
    pub host: String,
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Why nothing adds to it.
    pub why: Why,
    /// How many there are.
    pub snapshots: u64,
    /// Bytes of the files in all of them; what removing them frees is less, as they share content.
    pub bytes: u64,
    /// The moment of the newest that is not dated in the future.
    #[serde(with = "crate::moment::option")]
    pub newest: Option<Zoned>,
}

/// Lists all of them, by host and item.
///
/// # Errors
/// The repository refuses, or the history cannot be read.
pub fn orphans(config: &Config, notice: &(dyn Fn(&str) + Sync), cancel: &Cancel) -> Result<Vec<Orphan>> {
    patiently(config.repository.retry_for, cancel, notice, |patience| {
        let repository = Repository::open_patiently(&config.repository, patience)?;
        listed(config, &repository, notice)
    })
}

fn listed(config: &Config, repository: &Repository, notice: &dyn Fn(&str)) -> Result<Vec<Orphan>> {
    let (all, damaged) = repository.readable_snapshots(Hosts::All)?;
    damaged.iter().for_each(|error| notice(&format!("warning: {error}")));
    let mut by_item: BTreeMap<(&str, &str, &str), Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in &all {
        by_item.entry((&snapshot.host, &snapshot.source, &snapshot.item)).or_default().push(snapshot);
    }
    let standing = Standing::of(config, false)?;
    let mut orphans = Vec::new();
    for ((host, source, item), of_item) in by_item {
        let why = if host == repository.host() { standing.why(source, item)? } else { Some(Why::OtherHost) };
        let Some(why) = why else { continue };
        orphans.push(Orphan {
            host: host.to_owned(),
            source: source.to_owned(),
            item: item.to_owned(),
            why,
            snapshots: of_item.len() as u64,
            bytes: of_item.iter().map(|snapshot| snapshot.bytes).sum(),
            newest: shares(of_item).into_iter().next().and_then(|share| share.newest),
        });
    }
    Ok(orphans)
}
