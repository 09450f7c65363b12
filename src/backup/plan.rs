//! What a run will do: discovery of all sources and the choice of items.

use std::{str::FromStr, thread, time::Duration};

use serde::Serialize;

use super::{ItemReport, check_selectors};
use crate::{
    config::Config,
    error::{Error, Passing, Result},
    source::{self, Discovery, Item, Source},
    stream::cancel::Cancel,
};

/// The pauses before a source is asked once more.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10), Duration::from_secs(25)];

/// `SOURCE` or `SOURCE/ITEM` as an operator names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Source name.
    pub source: String,
    /// Item name; all items if absent. It may contain slashes.
    pub item: Option<String>,
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (source, item) = match text.split_once('/') {
            Some((source, item)) => (source, Some(item.to_owned())),
            None => (text, None),
        };
        if source.is_empty() || item.as_deref() == Some("") {
            return Err(Error::usage(format!("`{text}` is not SOURCE or SOURCE/ITEM")));
        }
        Ok(Self { source: source.to_owned(), item })
    }
}

impl Selector {
    /// Does it name this item?
    pub fn matches(&self, source: &str, item: &str) -> bool {
        self.source == source && self.item.as_deref().is_none_or(|name| name == item)
    }
}

/// An item with the source it belongs to.
pub struct Planned {
    /// The item.
    pub item: Item,
    /// Its source.
    pub source: usize,
}

/// What a run will do.
pub struct Plan {
    /// The sources asked, with what they answered.
    pub sources: Vec<(Box<dyn Source>, Discovery)>,
    /// What will be backed up, the largest first.
    pub items: Vec<Planned>,
    /// What is known to fail: sources that could not be asked, items that cannot be read or are not there.
    pub failed: Vec<ItemReport>,
}

/// What `discover` prints of a source.
#[derive(Debug, Serialize)]
pub struct SourceListing<'a> {
    /// Source name.
    pub source: &'a str,
    /// Kind of source.
    pub kind: &'static str,
    /// What it found.
    #[serde(flatten)]
    pub found: &'a Discovery,
}

impl Plan {
    /// The plan with only what `selectors` name, for showing.
    #[must_use]
    pub fn only(mut self, selectors: &[Selector]) -> Self {
        for (source, found) in &mut self.sources {
            let wanted =
                |name: &str| selectors.is_empty() || selectors.iter().any(|s| s.matches(source.name(), name));
            found.items.retain(|item| wanted(&item.name));
            found.excluded.retain(|excluded| wanted(&excluded.name));
        }
        self
    }

    /// The answers of the sources.
    pub fn listings(&self) -> impl Iterator<Item = SourceListing<'_>> {
        self.sources.iter().map(|(source, found)| SourceListing {
            source: source.name(),
            kind: source.kind(),
            found,
        })
    }
}

/// Asks the sources that `selectors` name (or all) what exists, all of them at the same time.
pub fn discover(config: &Config, selectors: &[Selector], cancel: &Cancel) -> Result<Plan> {
    check_selectors(config, selectors)?;
    let wanted = |name: &str| selectors.is_empty() || selectors.iter().any(|s| s.source == name);
    let configs: Vec<_> = config.sources.iter().filter(|source| wanted(source.name.as_str())).collect();
    let answers: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = configs
            .iter()
            .map(|config| {
                scope.spawn(|| {
                    let source = source::open(config)?;
                    let found = ask(&*source, cancel)?;
                    Ok((source, found))
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap_or_else(|_| Err(Error::failed("discovery panicked"))))
            .collect()
    });
    let mut plan = Plan { sources: Vec::new(), items: Vec::new(), failed: Vec::new() };
    for (config, answer) in configs.iter().zip(answers) {
        match answer {
            Ok((source, found)) => plan.add(source, found, selectors),
            Err(error) => {
                plan.failed.push(ItemReport::failed(config.name.as_str(), None, config.kind.as_str(), error))
            }
        }
    }
    if plan.items.is_empty() && plan.failed.is_empty() {
        for (source, _) in &plan.sources {
            let error = Error::failed("there is nothing to back up in it").hint(format!(
                "`tik-backup discover {}` shows what is there and by which rule it is excluded",
                source.name()
            ));
            plan.failed.push(ItemReport::failed(source.name(), None, source.kind(), error));
        }
    }
    // The largest first: the run does not end with one long dump while other threads idle.
    plan.items.sort_by_key(|planned| std::cmp::Reverse(planned.item.estimate.unwrap_or(0)));
    Ok(plan)
}

/// Asks a source what exists, again after a pause if the reason why it does not say passes.
fn ask(source: &dyn Source, cancel: &Cancel) -> Result<Discovery> {
    let mut pauses = PAUSES.iter();
    loop {
        let error = match source.discover(cancel) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        // A server that is not there at all is rarely there a moment later.
        let worth = match error.passing() {
            None => false,
            Some(Passing::Unreachable) => pauses.len() == PAUSES.len(),
            Some(_) => true,
        };
        let Some(pause) = pauses.next().filter(|_| worth) else { return Err(error) };
        if cancel.wait(*pause) {
            return Err(error);
        }
    }
}

impl Plan {
    fn add(&mut self, source: Box<dyn Source>, found: Discovery, selectors: &[Selector]) {
        let index = self.sources.len();
        let name = source.name().to_owned();
        let wanted = |item: &str| selectors.is_empty() || selectors.iter().any(|s| s.matches(&name, item));
        for item in found.items.iter().filter(|item| wanted(&item.name)) {
            match &item.problem {
                Some(problem) => self.failed.push(ItemReport::failed(
                    &name,
                    Some(&item.name),
                    source.kind(),
                    Error::failed(problem.clone()),
                )),
                None => self.items.push(Planned { item: item.clone(), source: index }),
            }
        }
        let as_a_whole =
            selectors.is_empty() || selectors.iter().any(|s| s.source == name && s.item.is_none());
        if let Some(problem) = found.problem.as_ref().filter(|_| as_a_whole) {
            self.failed.push(ItemReport::failed(&name, None, source.kind(), Error::failed(problem.clone())));
        }
        for missing in selectors.iter().filter(|s| s.source == name) {
            let Some(item) = &missing.item else { continue };
            if found.items.iter().any(|found| found.name == *item) {
                continue;
            }
            // A server or account that cannot be asked stands for all that it has.
            let within =
                |whole: &Item| item.strip_prefix(&whole.name).is_some_and(|rest| rest.starts_with('/'));
            let unknown = found.items.iter().find(|found| found.problem.is_some() && within(found));
            let error = match found.excluded.iter().find(|excluded| excluded.name == *item) {
                Some(excluded) => Error::failed(format!("it is excluded: {}", excluded.rule)),
                None if let Some(Item { problem: Some(problem), .. }) = unknown => {
                    Error::failed(problem.clone())
                }
                None => Error::failed("the source has no such item")
                    .hint(format!("`tik-backup discover {name}` shows what it has")),
            };
            self.failed.push(ItemReport::failed(&name, Some(item), source.kind(), error));
        }
        self.sources.push((source, found));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn selectors_may_hold_slashes() {
        let selector: Selector = "pg/a/b".parse().unwrap();
        assert_eq!(selector, Selector { source: "pg".into(), item: Some("a/b".into()) });
        assert!(selector.matches("pg", "a/b") && !selector.matches("pg", "a"));
        assert!("pg".parse::<Selector>().unwrap().matches("pg", "anything"));
        assert!("/x".parse::<Selector>().is_err());
        assert!("pg/".parse::<Selector>().is_err());
    }
}
