//! `tik-backup check`

use super::{Context, SUCCESS};
use crate::{
    error::Result,
    repository::{CheckReport, Repository, Subset, patiently},
    restore::read_lock,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Read this part of the data as well: a percentage (another part each day) or n/m
    #[arg(long, value_name = "5%|n/m")]
    read_data_subset: Option<String>,
    /// Read all data
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let subset = match &args.read_data_subset {
        Some(text) => Subset::parse(text)?,
        None if args.read_data => Subset::All,
        None => Subset::Nothing,
    };
    let config = context.config()?;
    let notice = |message: &str| context.printer.notice(message);
    let report = patiently(config.repository.retry_for, &context.cancel, &notice, |patience| {
        let repository = Repository::open_patiently(&config.repository, patience)?;
        let _lock = read_lock(&repository, &context.cancel, &notice)?;
        repository.check(subset, &context.cancel)
    })?;
    context.printer.result(&report, || text(&report))?;
    Ok(if report.errors.is_empty() { SUCCESS } else { 1 })
}

fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for error in &report.errors {
        text.push_str(&format!("DAMAGED: {error}\n"));
    }
    for warning in &report.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    let read = match report.packs_read {
        0 => "their content was not read (--read-data-subset 5% reads a part)".to_owned(),
        n => format!("the content of {n} was read"),
    };
    let verdict = if report.errors.is_empty() { "sound" } else { "DAMAGED" };
    text.push_str(&format!(
        "the repository is {verdict}: {}, {}; {read}",
        crate::output::count(report.snapshots, "snapshot"),
        crate::output::count(report.packs, "pack")
    ));
    if !report.errors.is_empty() {
        text.push_str("\nCopy the repository before you change anything; docs/operations.md has all steps under \"Damage\".");
    }
    for step in &report.advice {
        text.push_str(&format!("\n  → {step}"));
    }
    text
}
