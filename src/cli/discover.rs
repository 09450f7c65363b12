//! `tik-backup discover`

use serde::Serialize;

use super::{Context, SUCCESS};
use crate::{
    backup::{self, Plan, Selector},
    error::Result,
    output::{name, size, table},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sources to ask; all if none is named
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

/// A source that could not be asked.
#[derive(Debug, Serialize)]
struct Failure {
    source: String,
    error: String,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let selectors: Vec<Selector> =
        args.sources.iter().map(|source| Selector { source: source.clone(), item: None }).collect();
    let plan = backup::discover(&config, &selectors, &context.cancel)?;
    show(context, &plan)
}

/// Prints a plan. Items that cannot be read and sources that cannot be asked make the command fail.
pub(super) fn show(context: &Context, plan: &Plan) -> Result<u8> {
    let listings: Vec<_> = plan.listings().collect();
    let failures: Vec<Failure> = plan
        .failed
        .iter()
        .map(|item| Failure { source: item.name(), error: item.error.clone().unwrap_or_default() })
        .collect();
    let document = serde_json::json!({"sources": listings, "failed": failures});
    context.printer.result(&document, || text(plan, &failures))?;
    Ok(match (failures.is_empty(), plan.items.is_empty()) {
        (true, _) => SUCCESS,
        (false, false) => 3,
        (false, true) => 1,
    })
}

fn text(plan: &Plan, failures: &[Failure]) -> String {
    let mut rows = Vec::new();
    for listing in plan.listings() {
        for item in &listing.found.items {
            let what = if item.problem.is_some() { "CANNOT BE READ" } else { "protected" };
            let estimate = item.estimate.map(|bytes| format!("~{}", size(bytes))).unwrap_or_default();
            rows.push(vec![
                name(&format!("{}/{}", listing.source, item.name)),
                what.to_owned(),
                estimate,
                String::new(),
            ]);
        }
        for excluded in &listing.found.excluded {
            let full = name(&format!("{}/{}", listing.source, excluded.name));
            rows.push(vec![full, "excluded".to_owned(), String::new(), name(&excluded.rule)]);
        }
    }
    let mut text =
        if rows.is_empty() { String::new() } else { table(&["ITEM", "STATE", ">SIZE", "RULE"], &rows) };
    for failure in failures {
        text.push_str(&format!("{}: FAILED: {}\n", name(&failure.source), failure.error));
    }
    text
}
