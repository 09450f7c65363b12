//! `tik-backup discover`

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Context, SUCCESS};
use crate::{
    backup::{self, Plan, Removal, Selector},
    error::{Error, Problem, Result},
    output::{Screen, name, printable, size, table, width},
    source::{Item, Source, exclude::EXCLUDE_CACHES},
    stream::cancel::Cancel,
    workers,
};

/// Items whose entries are listed at the same time.
const PARALLEL: usize = 8;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sources to ask; all if none is named
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

/// A source that did not answer.
#[derive(Debug, Serialize)]
struct Failure {
    source: String,
    error: Problem,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let selectors: Vec<Selector> =
        args.sources.iter().map(|source| Selector { source: source.clone(), item: None }).collect();
    let plan = backup::discover(&config, &selectors, &context.cancel)?.complete(&context.cancel);
    let within = count_within(&plan, &context.cancel);
    context.cancel.check()?;
    show_with(context, &plan, &within, None)
}

/// Prints a plan and what the retention would remove after it. The command fails if items cannot be read or sources do
/// not answer.
pub(super) fn show(context: &Context, plan: &Plan, removals: &[Removal]) -> Result<u8> {
    show_with(context, plan, &Within::new(), Some(removals))
}

/// By source and item: the number of entries that exclusion patterns leave out, or why they could not be counted.
type Within = BTreeMap<(String, String), Result<Vec<(String, u64)>>>;

/// Counts the entries that exclusion patterns leave out of each item, several items at a time.
fn count_within(plan: &Plan, cancel: &Cancel) -> Within {
    let mut items: Vec<(&dyn Source, &Item)> = Vec::new();
    for (source, found) in &plan.sources {
        let healthy = found.items.iter().filter(|item| item.problem.is_none());
        items.extend(healthy.map(|item| (&**source, item)));
    }
    let counted = workers::map(&items, PARALLEL, |(source, item)| source.excluded_within(item, cancel));
    let keys = items.iter().map(|(source, item)| (source.name().to_owned(), item.name.clone()));
    // Most sources have no such patterns.
    keys.zip(counted).filter(|(_, counted)| !counted.as_ref().is_ok_and(Vec::is_empty)).collect()
}

/// The answers of the sources as JSON, with the excluded entries of each item.
fn listed(plan: &Plan, within: &Within) -> Result<Vec<serde_json::Value>> {
    let failed = |error: serde_json::Error| Error::failed("cannot write JSON").because(&error);
    let mut listings = Vec::new();
    for listing in plan.listings() {
        let mut document = serde_json::to_value(&listing).map_err(failed)?;
        for (number, item) in listing.found.items.iter().enumerate() {
            let key = (listing.source.to_owned(), item.name.clone());
            if let Some(Ok(counts)) = within.get(&key) {
                let entry = |(pattern, entries): &(String, u64)| {
                    let (pattern, entries) = (pattern.as_str(), *entries);
                    serde_json::json!({"pattern": pattern, "entries": entries})
                };
                let counts: Vec<_> = counts.iter().map(entry).collect();
                document["items"][number]["excluded_within"] = counts.into();
            }
        }
        listings.push(document);
    }
    Ok(listings)
}

fn show_with(context: &Context, plan: &Plan, within: &Within, removals: Option<&[Removal]>) -> Result<u8> {
    let mut failures: Vec<Failure> = plan
        .failed
        .iter()
        .map(|item| Failure { source: item.name(), error: item.error.clone().unwrap_or_default() })
        .collect();
    for ((source, item), counted) in within {
        if let Err(error) = counted {
            failures.push(Failure { source: format!("{source}/{item}"), error: error.into() });
        }
    }
    let mut document = serde_json::json!({"sources": listed(plan, within)?, "failed": failures});
    if let Some(removals) = removals {
        document["removed"] =
            serde_json::to_value(removals).map_err(|e| Error::failed("cannot write JSON").because(&e))?;
    }
    context.printer.result(&document, || {
        let mut text = text(&Screen::of_stdout(), plan, within, &failures);
        for removal in removals.unwrap_or_default() {
            let item = name(&format!("{}/{}", removal.source, removal.item));
            text.push_str(&format!("{item}: {}\n", removal.text()));
        }
        text
    })?;
    Ok(match (failures.is_empty(), plan.items.is_empty()) {
        (true, _) => SUCCESS,
        (false, false) => 3,
        (false, true) => 1,
    })
}

fn text(screen: &Screen, plan: &Plan, within: &Within, failures: &[Failure]) -> String {
    let mut rows = Vec::new();
    for listing in plan.listings() {
        for item in &listing.found.items {
            // The line of the failure says which problem it is.
            let what = if item.problem.is_some() { "PROBLEM" } else { "protected" };
            let estimate = item.estimate.map(|bytes| format!("~{}", size(bytes))).unwrap_or_default();
            let within = within.get(&(listing.source.to_owned(), item.name.clone()));
            rows.push(vec![
                name(&format!("{}/{}", listing.source, item.name)),
                what.to_owned(),
                estimate,
                within.map(left_out).unwrap_or_default(),
            ]);
        }
        for excluded in &listing.found.excluded {
            let full = name(&format!("{}/{}", listing.source, excluded.name));
            rows.push(vec![full, "excluded".to_owned(), String::new(), name(&excluded.rule)]);
        }
    }
    let mut text = if rows.is_empty() {
        String::new()
    } else {
        table(screen, &["ITEM", "STATE", ">SIZE", "RULE"], &rows)
    };
    for failure in failures {
        let head = format!("{}: FAILED:", name(&failure.source));
        for (number, line) in printable(&failure.error.to_string()).lines().enumerate() {
            let (begin, lead) =
                if number == 0 { (width(&head) + 1, format!("{head} ")) } else { (4, "    ".to_owned()) };
            text.push_str(&format!("{lead}{}\n", screen.wrapped(line, begin, 4)));
        }
    }
    text
}

/// The excluded entries of an item, in one line.
fn left_out(counted: &Result<Vec<(String, u64)>>) -> String {
    let one = |(pattern, entries): &(String, u64)| {
        let entries = crate::output::count(*entries, "entry");
        match pattern.as_str() {
            EXCLUDE_CACHES => format!("{entries} excluded by exclude_caches = true"),
            pattern => name(&format!("{entries} excluded by exclude = {pattern:?}")),
        }
    };
    match counted {
        Ok(counts) => counts.iter().map(one).collect::<Vec<_>>().join("; "),
        Err(_) => "excluded entries could not be counted".to_owned(),
    }
}
