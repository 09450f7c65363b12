//! Items that are named on the command line and do not exist: a typing error is reported at once, and leaves no trace in ledger and alerts.

use super::{Selector, check_selectors, discover};
use crate::{
    config::Config,
    error::Result,
    known::{self, Name},
    repository::{Hosts, Repository, Snapshot},
    stream::cancel::Cancel,
};

/// Fails if one of `selectors` names a source that is not in the configuration, or an item that is neither in its source nor in the
/// history nor in the repository. If the source does not answer, no error is returned.
///
/// # Errors
/// Exit code 2, with the nearest name.
pub fn require_known(config: &Config, selectors: &[Selector], cancel: &Cancel) -> Result<()> {
    check_selectors(config, selectors)?;
    if selectors.iter().all(|selector| selector.item.is_none()) {
        return Ok(());
    }
    let mut names = known::in_history(config);
    let has = |names: &[(String, String)], selector: &Selector| {
        let item = selector.item.as_deref();
        item.is_none_or(|item| names.iter().any(|(s, name)| *s == selector.source && name == item))
    };
    let new: Vec<Selector> = selectors.iter().filter(|selector| !has(&names, selector)).cloned().collect();
    // The source is only asked about items that are new, such as a database that was just created.
    if new.is_empty() {
        return Ok(());
    }
    let plan = discover(config, &new, cancel)?.complete(cancel);
    cancel.check()?;
    let missing: Vec<&Selector> = new.iter().filter(|selector| plan.lacks(selector)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // A history that was lost has no items. If the repository cannot be read, the run reports that.
    let Some(stored) = stored(config) else { return Ok(()) };
    names.extend(stored.into_iter().map(|snapshot| (snapshot.source, snapshot.item)));
    let found = plan.sources.iter().flat_map(|(source, found)| {
        found.items.iter().map(|item| (source.name().to_owned(), item.name.clone()))
    });
    let missing: Vec<&Selector> = missing.into_iter().filter(|selector| !has(&names, selector)).collect();
    names.extend(found);
    match missing.first() {
        None => Ok(()),
        Some(selector) => {
            let name = Name { source: &selector.source, item: selector.item.as_deref() };
            let text = format!("the source has no such item: {}", name.text());
            let all = names.iter().map(|(source, item)| (source.as_str(), item.as_str()));
            let look = format!("`tik-backup discover {}` shows what it has", selector.source);
            Err(known::unknown(config, text, name, all, &look))
        }
    }
}

fn stored(config: &Config) -> Option<Vec<Snapshot>> {
    let repository = Repository::open(&config.repository).ok()?;
    repository.readable_snapshots(Hosts::Own).ok().map(|(snapshots, _)| snapshots)
}
