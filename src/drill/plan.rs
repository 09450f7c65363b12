//! The items of a drill, and their order.

use std::collections::{BTreeMap, HashMap};

use super::verdict::Left;
use crate::{
    backup::Selector,
    config::Config,
    error::{Error, Result},
    history::Past,
    known::{self, Asked, Name},
    repository::{At, Snapshot, foreign_hint, shares},
    restore::item_name,
    source::name::ItemName,
};

/// The arguments of a drill.
#[derive(Debug, Clone)]
pub struct Request {
    /// Items or whole sources; if empty, the items are chosen by age of proof.
    pub selectors: Vec<Selector>,
    /// Everything, or all of the named sources, without a time limit.
    pub all: bool,
    /// Which snapshot of each item.
    pub at: At,
    /// Whether the snapshots are of another host, so that nothing is recorded.
    pub foreign: bool,
    /// The percentage of files of containers, shares and directories to read, if not as configured.
    pub sample: Option<u8>,
}

impl Request {
    /// Whether the items were named. Then there is no time limit.
    pub fn is_explicit(&self) -> bool {
        self.all || !self.selectors.is_empty()
    }
}

/// A snapshot to be proven.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'s> {
    pub(super) snapshot: &'s Snapshot,
    /// Of databases: the server, among those of its source.
    pub(super) server: Option<String>,
    /// Of databases: its name on that server.
    pub(super) database: String,
    pub(super) is_globals: bool,
    pub(super) past: Past,
}

impl Candidate<'_> {
    /// The server group: items of the same group may share a scratch server.
    pub(super) fn group(&self) -> (String, Option<String>) {
        (self.snapshot.source.clone(), self.server.clone())
    }
}

/// Chooses among the snapshots of the configured host. Items with the oldest proof come first, together with the other items of their server. The snapshots are
/// in the order of their times.
///
/// # Errors
/// Exit code 2 or 1: a named item does not exist.
pub(super) fn choose<'s>(
    config: &Config,
    request: &Request,
    snapshots: &'s [Snapshot],
    others: &[Snapshot],
    past: &HashMap<(String, String), Past>,
) -> Result<(Vec<Candidate<'s>>, Vec<Left>)> {
    let mut by_item: BTreeMap<(&str, &str), Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        by_item.entry((&snapshot.source, &snapshot.item)).or_default().push(snapshot.clone());
    }
    if matches!(request.at, At::Id(_))
        && (request.selectors.len() != 1 || request.selectors[0].item.is_none())
    {
        return Err(Error::usage("--at with the id of a snapshot goes with one item: SOURCE/ITEM"));
    }
    let asked = Asked { command: "drill", at: &request.at, removes: false };
    for selector in &request.selectors {
        if !by_item.keys().any(|(source, item)| selector.matches(source, item)) {
            let name = Name { source: &selector.source, item: selector.item.as_deref() };
            return Err(known::absent(config, asked, name, snapshots, others));
        }
    }
    let wanted = |source: &str, item: &str| {
        if request.selectors.is_empty() {
            config.source(source).is_some()
        } else {
            request.selectors.iter().any(|selector| selector.matches(source, item))
        }
    };
    let (mut chosen, mut left) = (Vec::new(), Vec::new());
    for ((source, item), of_item) in &by_item {
        if !wanted(source, item) {
            continue;
        }
        let named = request.selectors.iter().any(|selector| selector.item.as_deref() == Some(*item));
        match request.at.choose(&format!("{source}/{item}"), of_item) {
            Ok(snapshot) => {
                // The same snapshot, with the lifetime of the others.
                let Some(snapshot) = snapshots.iter().find(|other| other.id == snapshot.id) else { continue };
                let past = past.get(&((*source).to_owned(), (*item).to_owned())).cloned().unwrap_or_default();
                chosen.push(candidate(config, snapshots, snapshot, past));
            }
            Err(error) if named => {
                let name = Name { source, item: Some(item) };
                return Err(known::elsewhere(config, asked, name, others, error));
            }
            Err(error) => left.push(Left {
                source: (*source).to_owned(),
                item: (*item).to_owned(),
                reason: error.summary(),
            }),
        }
    }
    sort(&mut chosen);
    Ok((chosen, left))
}

fn candidate<'s>(config: &Config, all: &[Snapshot], snapshot: &'s Snapshot, past: Past) -> Candidate<'s> {
    let name = if config.source(&snapshot.source).is_some_and(|source| source.kind.has_servers()) {
        ItemName::parse(&snapshot.item, true)
    } else {
        item_name(all, &snapshot.source, &snapshot.item)
    };
    Candidate {
        snapshot,
        is_globals: name.is_globals(),
        server: name.server.map(str::to_owned),
        database: name.name.to_owned(),
        past,
    }
}

/// The oldest proof first. Items that could not be proven lately come after the others. Groups stay together,
/// and in each the roles come first, as they would in an emergency.
fn sort(chosen: &mut [Candidate<'_>]) {
    let age = |candidate: &Candidate<'_>| {
        let proven = candidate.past.proven.unwrap_or(i64::MIN);
        (proven.max(candidate.past.tried.unwrap_or(i64::MIN)), candidate.snapshot.time.timestamp())
    };
    let mut oldest: HashMap<(String, Option<String>), _> = HashMap::new();
    for candidate in chosen.iter() {
        let age = age(candidate);
        oldest.entry(candidate.group()).and_modify(|known| *known = age.min(*known)).or_insert(age);
    }
    chosen.sort_by_cached_key(|candidate| {
        let group = candidate.group();
        (oldest[&group], group, !candidate.is_globals, age(candidate), candidate.database.clone())
    });
}

/// The error of a drill for which there is no snapshot.
pub(super) fn nothing_to_prove(config: &Config, own: &[Snapshot], others: &[Snapshot]) -> Error {
    if let Err(error) = known::require_host(config, own, others) {
        return error;
    }
    if config.sources.is_empty() {
        return Error::failed("there is nothing to prove: the configuration has no source")
            .hint("name it: `tik-backup drill SOURCE/ITEM --host HOST`; `tik-backup snapshots --all-hosts` lists what there is");
    }
    let error = Error::failed("there is nothing to prove: this host has no snapshot of a configured source");
    match &shares(others)[..] {
        theirs @ [_, ..] => error.hint(foreign_hint(config, "drill", theirs, !own.is_empty(), false)),
        [] => error.hint("run `tik-backup backup` first"),
    }
}
