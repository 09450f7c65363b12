//! `tik-backup check`

use jiff::Zoned;

use super::{Context, SUCCESS};
use crate::{
    config::Config,
    error::Result,
    history::History,
    output::{count, printable},
    repository::{CheckReport, Repository, Subset, patiently},
    restore::read_lock,
};

/// At most this many lines of a kind are printed.
const LISTED: usize = 50;

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
    let report = patiently(
        config.repository.retry_for,
        &context.cancel,
        &notice,
        |patience| -> Result<CheckReport> {
            let repository = Repository::open_patiently(&config.repository, patience)?;
            repository.use_fresh_cache(&config.state_dir);
            let _lock = read_lock(&repository, &context.cancel, &notice)?;
            let report = repository.check(subset, &context.cancel)?;
            written_down(&config, &repository, &notice, |history| history.note_check(&report, &Zoned::now()));
            Ok(report)
        },
    )?;
    context.printer.result(&report, || text(&report))?;
    Ok(if report.errors.is_empty() { SUCCESS } else { 1 })
}

/// Records the result in the history, if there is one. A failure to record is printed and is not an error.
pub(super) fn written_down(
    config: &Config,
    repository: &Repository,
    notice: &dyn Fn(&str),
    write: impl FnOnce(&History) -> Result<()>,
) {
    let history = History::existing(config, repository);
    if let Err(error) = history.and_then(|history| history.as_ref().map_or(Ok(()), write)) {
        notice(&format!("cannot record the result of the check, so `status` does not show it: {error}"));
    }
}

fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for error in report.errors.iter().take(LISTED) {
        text.push_str(&format!("DAMAGED: {}\n", printable(error)));
    }
    if report.errors.len() > LISTED {
        let more = report.errors.len() - LISTED;
        text.push_str(&format!("DAMAGED: {more} more; --json lists all\n"));
    }
    for snapshot in report.incomplete.iter().take(LISTED) {
        let name = snapshot.name().unwrap_or_else(|| "of another program".to_owned());
        text.push_str(&format!(
            "INCOMPLETE: snapshot {} {} of {}, host {}\n",
            snapshot.short_id(),
            crate::output::name(&name),
            snapshot.time.strftime("%Y-%m-%d %H:%M"),
            crate::output::name(&snapshot.host)
        ));
    }
    if report.incomplete.len() > LISTED {
        let more = count(report.incomplete.len() - LISTED, "snapshot");
        text.push_str(&format!("INCOMPLETE: {more} more; --json lists all\n"));
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
        count(report.snapshots, "snapshot"),
        count(report.packs, "pack")
    ));
    if !report.errors.is_empty() {
        text.push_str("\nCopy the repository before you change anything; docs/operations.md has all steps under \"Damage\".");
    }
    for step in &report.advice {
        text.push_str(&format!("\n  → {step}"));
    }
    text
}
