//! What a run will do: discovery of all sources and the choice of items.

use std::{
    collections::HashSet,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::check_selectors;
use crate::{
    config::Config,
    error::{Error, Passing, Result},
    outcome::ItemReport,
    source::{Discovery, Item, Source, name::within},
    stream::cancel::Cancel,
    workers,
};

/// The pauses before a source is asked again.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10), Duration::from_secs(25)];

/// `SOURCE` or `SOURCE/ITEM`, as written on the command line.
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
    /// Whether it names this item.
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
    /// The sources with their answers.
    pub sources: Vec<(Arc<dyn Source>, Discovery)>,
    /// The items to back up, the largest first.
    pub items: Vec<Planned>,
    /// Failures that are known already: sources that did not answer, items that cannot be read or do not exist.
    pub failed: Vec<ItemReport>,
    /// The selected sources and items; everything if empty.
    selectors: Vec<Selector>,
    /// Sources whose answers are new, by number.
    fresh: Vec<usize>,
    /// The number of items in earlier parts of the plan, including failed ones.
    earlier: u64,
}

/// Partial answers, by the number of the source.
pub(super) struct Rest(Vec<(usize, Result<Option<Discovery>>)>);

/// A source as `discover` prints it.
#[derive(Debug, Serialize)]
pub struct SourceListing<'a> {
    /// Source name.
    pub source: &'a str,
    /// Kind of source.
    pub kind: &'static str,
    /// Its items.
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

    /// Whether the source of this item has answered and has no item of this name, not even an excluded one.
    pub(super) fn lacks(&self, selector: &Selector) -> bool {
        let Some(item) = &selector.item else { return false };
        let mut asked = self.sources.iter().filter(|(source, _)| source.name() == selector.source);
        asked.any(|(_, found)| {
            !found.lists(item)
                && !found.is_unknown(item)
                && found.excluded.iter().all(|excluded| excluded.name != *item)
        })
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

/// Asks the sources that `selectors` name (or all) what exists, all of them at the same time. A source may not have
/// answered for all of its parts: [`Plan::complete`] waits for them.
pub fn discover(config: &Config, selectors: &[Selector], cancel: &Cancel) -> Result<Plan> {
    check_selectors(config, selectors)?;
    let wanted = |name: &str| selectors.is_empty() || selectors.iter().any(|s| s.source == name);
    let configs: Vec<_> = config.sources.iter().filter(|source| wanted(source.name.as_str())).collect();
    let answers = workers::map_or(
        &configs,
        configs.len(),
        |_| Err(Error::failed("discovery panicked")),
        |config| {
            let _span = tracing::info_span!("source", source = config.name.as_str()).entered();
            let source: Arc<dyn Source> = config.open()?.into();
            let found = ask(&*source, cancel)?;
            Ok((source, found))
        },
    );
    let mut plan = Plan {
        sources: Vec::new(),
        items: Vec::new(),
        failed: Vec::new(),
        selectors: selectors.to_vec(),
        fresh: Vec::new(),
        earlier: 0,
    };
    for (config, answer) in configs.iter().zip(answers) {
        match answer {
            Ok((source, found)) => {
                plan.sources.push((source, found));
                plan.add(plan.sources.len() - 1, None);
            }
            Err(error) => {
                plan.failed.push(ItemReport::failed(config.name.as_str(), None, config.kind.as_str(), error))
            }
        }
    }
    plan.order();
    Ok(plan)
}

/// Asks a source what exists, and tries again after a pause if the failure may be temporary.
fn ask(source: &dyn Source, cancel: &Cancel) -> Result<Discovery> {
    let (mut pauses, begin) = (PAUSES.iter(), Instant::now());
    loop {
        let error = match source.discover(cancel) {
            Ok(found) => {
                let seconds = begin.elapsed().as_secs_f64();
                let (items, excluded) = (found.items.len(), found.excluded.len());
                tracing::info!(
                    items,
                    excluded,
                    waiting = found.waiting.len(),
                    seconds,
                    "the source has answered"
                );
                return Ok(found);
            }
            Err(error) => error,
        };
        // A server that cannot be reached at all is rarely back within seconds.
        let worth = match error.passing() {
            None => false,
            Some(Passing::Unreachable) => pauses.len() == PAUSES.len(),
            Some(_) => true,
        };
        let Some(pause) = pauses.next().filter(|_| worth) else { return Err(error) };
        tracing::info!(why = error.first_line(), pause = pause.as_secs(), "the source is asked again");
        if cancel.wait(*pause) {
            return Err(error);
        }
    }
}

impl Plan {
    /// The complete plan: waits for all sources.
    #[must_use]
    pub fn complete(mut self, cancel: &Cancel) -> Self {
        if self.waits() {
            let (earlier, mut items, mut failed) = (self.earlier, Vec::new(), Vec::new());
            while self.waits() {
                let rest = self.rest(cancel);
                items.append(&mut self.items);
                failed.append(&mut self.failed);
                self.earlier = earlier + (items.len() + failed.len()) as u64;
                self.continue_with(rest);
            }
            self.earlier = earlier;
            self.items.append(&mut items);
            failed.append(&mut self.failed);
            self.failed = failed;
            self.order();
        }
        self
    }

    /// Whether a source that the plan needs has not answered yet.
    pub(super) fn waits(&self) -> bool {
        self.waiting().next().is_some()
    }

    /// The sources to wait for, by number.
    fn waiting(&self) -> impl Iterator<Item = usize> {
        let wanted = |source: &str, found: &Discovery| {
            self.selectors.is_empty()
                || self.selectors.iter().filter(|s| s.source == source).any(|selector| match &selector.item {
                    Some(item) => !found.lists(item) && found.is_unknown(item),
                    None => true,
                })
        };
        let sources = self.sources.iter().enumerate();
        sources
            .filter(move |(_, (source, found))| !found.waiting.is_empty() && wanted(source.name(), found))
            .map(|(index, _)| index)
    }

    /// Waits until more sources have answered. The plan's items may be streamed meanwhile.
    pub(super) fn rest(&self, cancel: &Cancel) -> Rest {
        let waiting: Vec<usize> = self.waiting().collect();
        let answers = workers::map_or(
            &waiting,
            waiting.len(),
            |_| Err(Error::failed("discovery panicked")),
            |index| {
                let source = &*self.sources[*index].0;
                let _span = tracing::info_span!("source", source = source.name()).entered();
                source.discover_rest(cancel)
            },
        );
        Rest(waiting.into_iter().zip(answers).collect())
    }

    /// Replaces the plan by one of the items that the new answers add. Some sources may still not have answered.
    pub(super) fn continue_with(&mut self, rest: Rest) {
        self.earlier += (self.items.len() + self.failed.len()) as u64;
        self.items.clear();
        self.failed.clear();
        self.fresh.clear();
        for (index, answer) in rest.0 {
            let (source, found) = &mut self.sources[index];
            match answer {
                Ok(Some(mut whole)) => {
                    // A source without new items is not asked again and again.
                    if whole.waiting.len() >= found.waiting.len() {
                        whole.waiting.clear();
                    }
                    let before = std::mem::replace(found, whole);
                    self.add(index, Some(&before));
                }
                Ok(None) => found.waiting.clear(),
                Err(error) => {
                    // Parts that have not answered stay unknown.
                    found.waiting.clear();
                    self.failed.push(ItemReport::failed(source.name(), None, source.kind(), error));
                }
            }
        }
        self.order();
    }

    /// The number of items in this run so far, including those that have failed already.
    pub(super) fn total(&self) -> u64 {
        self.earlier + (self.items.len() + self.failed.len()) as u64
    }

    /// The new answers.
    pub(super) fn fresh(&self) -> impl Iterator<Item = &(Arc<dyn Source>, Discovery)> {
        self.fresh.iter().map(|index| &self.sources[*index])
    }

    /// Plans the items that an answer adds to an earlier one.
    fn add(&mut self, index: usize, before: Option<&Discovery>) {
        let (source, found) = &self.sources[index];
        let (name, selectors) = (source.name(), &self.selectors);
        let wanted = |item: &str| selectors.is_empty() || selectors.iter().any(|s| s.matches(name, item));
        let known: HashSet<&str> = before
            .map(|before| before.items.iter().map(|item| item.name.as_str()).collect())
            .unwrap_or_default();
        let new = found.items.iter().filter(|item| wanted(&item.name) && !known.contains(item.name.as_str()));
        for item in new {
            match &item.problem {
                Some(problem) => self.failed.push(ItemReport::failed(
                    name,
                    Some(&item.name),
                    source.kind(),
                    problem.clone().into(),
                )),
                None => self.items.push(Planned { item: item.clone(), source: index }),
            }
        }
        let as_a_whole =
            selectors.is_empty() || selectors.iter().any(|s| s.source == name && s.item.is_none());
        let problem = found.problem.as_ref().filter(|_| as_a_whole);
        if let Some(problem) =
            problem.filter(|problem| before.and_then(|b| b.problem.as_ref()) != Some(*problem))
        {
            self.failed.push(ItemReport::failed(name, None, source.kind(), problem.clone().into()));
        }
        for missing in selectors.iter().filter(|s| s.source == name) {
            let Some(item) = &missing.item else { continue };
            let open = |found: &Discovery| !found.waiting.is_empty() && found.is_unknown(item);
            let said = before.is_some_and(|before| !open(before));
            if said || open(found) || found.items.iter().any(|found| found.name == *item) {
                continue;
            }
            self.failed.push(ItemReport::failed(
                name,
                Some(item),
                source.kind(),
                missing_error(name, found, item),
            ));
        }
        self.fresh.push(index);
    }

    /// The remaining steps once items are added.
    fn order(&mut self) {
        if self.total() == 0 && !self.waits() {
            for (source, _) in &self.sources {
                let error = Error::failed("there is nothing to back up in it").hint(format!(
                    "`tik-backup discover {}` shows what is there and by which rule it is excluded",
                    source.name()
                ));
                self.failed.push(ItemReport::failed(source.name(), None, source.kind(), error));
            }
        }
        // The largest first: the run does not end with one long dump while other threads idle.
        self.items.sort_by_key(|planned| std::cmp::Reverse(planned.item.estimate.unwrap_or(0)));
    }
}

/// Why a named item is not among those of its source.
fn missing_error(source: &str, found: &Discovery, item: &str) -> Error {
    // A server or account that does not answer stands for all of its items.
    let lies_in = |whole: &Item| within(item, &whole.name).is_some();
    let unknown = found.items.iter().find(|found| found.problem.is_some() && lies_in(found));
    match found.excluded.iter().find(|excluded| excluded.name == *item) {
        Some(excluded) => Error::failed(format!("it is excluded: {}", excluded.rule)),
        None if let Some(Item { problem: Some(problem), .. }) = unknown => problem.clone().into(),
        None if found.is_unknown(item) => {
            Error::failed("it was not found, but a part of the source did not answer")
                .hint(format!("`tik-backup discover {source}` shows which part, and why"))
        }
        None => Error::failed("the source has no such item")
            .hint(format!("`tik-backup discover {source}` shows what it has")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "plan_tests.rs"]
mod tests;
