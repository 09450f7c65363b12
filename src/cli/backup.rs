//! `tik-backup backup`

use super::{Context, discover};
use crate::{
    backup::{self, ItemOutcome, RunReport, Selector},
    error::{Error, Result},
    output::{count, duration, printable, progress::Progress, size},
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
    if let Some(error) = &report.error {
        context.printer.error(error);
    }
    Ok(report.exit_code())
}

fn text(report: &RunReport) -> String {
    let of = |outcome| report.items.iter().filter(|item| item.outcome == outcome).count();
    let (succeeded, failed) = (of(ItemOutcome::Ok), of(ItemOutcome::Failed));
    let (unchecked, vanished) = (of(ItemOutcome::Unchecked), of(ItemOutcome::Vanished));
    let partial = of(ItemOutcome::Partial);
    let read = report.items.iter().map(|item| item.bytes_read).sum();
    let added = report.items.iter().map(|item| item.bytes_added).sum();
    let mut verdict = if failed + unchecked + partial == 0 && report.error.is_none() {
        let all = if succeeded == 1 { "" } else { "all " };
        format!("{all}{} backed up", count(succeeded, "item"))
    } else if failed + unchecked + partial == 0 {
        let what = if report.unwritten {
            "WHAT HAPPENED COULD NOT BE WRITTEN DOWN"
        } else {
            "THE RUN AS A WHOLE FAILED"
        };
        format!("{} backed up, but {what}", count(succeeded, "item"))
    } else {
        format!("{} backed up, {failed} FAILED", count(succeeded, "item"))
    };
    if unchecked > 0 {
        verdict.push_str(&format!(", {unchecked} UNCHECKED"));
    }
    if partial > 0 {
        verdict.push_str(&format!(", {partial} PARTIAL"));
    }
    if vanished > 0 {
        verdict.push_str(&format!(", {vanished} vanished meanwhile"));
    }
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
