//! `tik-backup backup`

use super::{Context, discover};
use crate::{
    backup::{self, RunReport, Selector},
    cli::progress::Progress,
    error::{Error, Result},
    outcome::{ItemOutcome, ItemReport},
    output::{count, duration, printable, size},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to back up; everything if nothing is named
    #[arg(value_name = "SOURCE[/ITEM]")]
    items: Vec<Selector>,
    /// Only show what would be backed up, and which snapshots the retention would remove then
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    if config.sources.is_empty() {
        return Err(Error::usage("the configuration has no sources: there is nothing to back up")
            .hint("add a section [sources.NAME]; docs/configuration.md describes it"));
    }
    if args.dry_run {
        backup::require_known(&config, &args.items, &context.cancel)?;
        let plan = backup::discover(&config, &args.items, &context.cancel)?.complete(&context.cancel);
        let removals = backup::preview(&config, &plan, &args.items);
        if let Err(error) = &removals {
            context.printer.notice(&format!("what the retention would remove is not known: {error}"));
        }
        return discover::show(context, &plan.only(&args.items), &removals.unwrap_or_default());
    }
    let report = {
        let progress = Progress::new(context.printer);
        backup::run(&config, &args.items, &progress, &context.cancel)?
    };
    context.printer.result(&report, || text(&report))?;
    // The errors of items are not printed again.
    if let Some(error) =
        report.error.as_ref().filter(|_| context.printer.is_json() || !report.error_is_of_items())
    {
        context.printer.error(error);
    }
    Ok(report.exit_code())
}

/// The number of items with each outcome.
fn verdict(report: &RunReport) -> String {
    let of = |outcome| report.items.iter().filter(move |item| item.outcome == outcome);
    let succeeded = of(ItemOutcome::Ok).count();
    let failed: u64 = of(ItemOutcome::Failed).map(ItemReport::stands_for).sum();
    // The number of their items is unknown.
    let sources = of(ItemOutcome::Failed).filter(|item| item.stands_for() == 0).count();
    let (unchecked, vanished) = (of(ItemOutcome::Unchecked).count(), of(ItemOutcome::Vanished).count());
    let partial = of(ItemOutcome::Partial).count();
    let items_are_well = failed == 0 && sources + unchecked + partial == 0;
    let is_well = items_are_well && report.error.is_none();
    let mut verdict = if is_well {
        let all = if succeeded == 1 { "" } else { "all " };
        format!("{all}{} backed up", count(succeeded, "item"))
    } else if items_are_well {
        let what = if report.has_lost {
            "A PART OF THE REPOSITORY WAS LOST BEFORE"
        } else if report.unwritten {
            "THE HISTORY COULD NOT BE WRITTEN"
        } else {
            "THE RUN AS A WHOLE FAILED"
        };
        format!("{} backed up, but {what}", count(succeeded, "item"))
    } else {
        format!("{} backed up", count(succeeded, "item"))
    };
    if !items_are_well && (failed > 0 || sources == 0) {
        verdict.push_str(&format!(", {failed} FAILED"));
    }
    if sources > 0 {
        verdict.push_str(&format!(", {} FAILED", count(sources, "source")));
    }
    if unchecked > 0 {
        verdict.push_str(&format!(", {unchecked} UNCHECKED"));
    }
    if partial > 0 {
        verdict.push_str(&format!(", {partial} PARTIAL"));
    }
    if vanished > 0 {
        verdict.push_str(&format!(", {vanished} vanished meanwhile"));
    }
    let excluded = report.dropped.iter().filter(|dropped| dropped.rule.is_some()).count();
    let gone = report.dropped.len() - excluded;
    if gone > 0 {
        verdict.push_str(&format!(", {gone} VANISHED"));
    }
    if excluded > 0 {
        verdict.push_str(&format!(", {excluded} EXCLUDED since this run"));
    }
    verdict
}

fn text(report: &RunReport) -> String {
    let verdict = verdict(report);
    let read = report.items.iter().map(|item| item.bytes_read).sum();
    let added = report.items.iter().map(|item| item.bytes_added).sum();
    let mut text = format!(
        "{verdict}: {} read, {} added, {} removed, {}\n",
        size(read),
        size(added),
        count(report.forgotten, "old snapshot"),
        duration(report.seconds)
    );
    for cause in report.causes().iter().filter(|cause| cause.subjects.len() > 1) {
        text.push_str(&format!("{}: {}\n", cause.who(), printable(&cause.text)));
    }
    text
}
