//! `tik-backup backup`

use super::{Context, discover};
use crate::{
    backup::{self, ItemOutcome, RunReport, Selector},
    error::{Error, Result},
    output::{duration, progress::Progress, size},
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
    backup::check_selectors(&config, &args.items)?;
    if args.dry_run {
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
    let count = |outcome| report.items.iter().filter(|item| item.outcome == outcome).count();
    let (succeeded, failed) = (count(ItemOutcome::Ok), count(ItemOutcome::Failed));
    let (unchecked, vanished) = (count(ItemOutcome::Unchecked), count(ItemOutcome::Vanished));
    let partial = count(ItemOutcome::Partial);
    let read = report.items.iter().map(|item| item.bytes_read).sum();
    let added = report.items.iter().map(|item| item.bytes_added).sum();
    let mut verdict = if failed + unchecked + partial == 0 && report.error.is_none() {
        format!("all {succeeded} items backed up")
    } else {
        format!("{succeeded} items backed up, {failed} FAILED")
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
    format!(
        "{verdict}: {} read, {} added, {} old snapshots removed, {}",
        size(read),
        size(added),
        report.forgotten,
        duration(report.seconds)
    )
}
