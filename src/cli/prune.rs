//! `tik-backup prune`

use jiff::Zoned;

use super::{Context, SUCCESS, check::written_down};
use crate::{
    error::{Error, Result},
    output::size,
    repository::{PruneReport, Repository, patiently, writer::keep_packs_for},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<u8> {
    let config = context.config()?;
    let wait = config.repository.lock_wait;
    let keep = || keep_packs_for(&config.state_dir);
    let notice = |message: &str| context.printer.notice(message);
    let report = patiently(config.repository.retry_for, &context.cancel, &notice, |patience| {
        let repository = Repository::open_patiently(&config.repository, patience)?;
        repository.use_fresh_cache(&config.state_dir);
        let lost = |loss: &Error| {
            written_down(&config, &repository, &notice, |history| history.note_loss(loss, &Zoned::now()));
        };
        repository.prune(wait, &keep, &lost, &context.cancel, &notice)
    })?;
    context.printer.result(&report, || text(&report))?;
    Ok(SUCCESS)
}

fn text(report: &PruneReport) -> String {
    let mut text = format!(
        "freed {}: {} in {} before, {} in {} now",
        size(report.bytes_before.saturating_sub(report.bytes_after)),
        size(report.bytes_before),
        crate::output::count(report.packs_before, "pack"),
        size(report.bytes_after),
        crate::output::count(report.packs_after, "pack")
    );
    if report.leftovers > 0 {
        let leftovers = crate::output::count(report.leftovers, "left-over");
        text.push_str(&format!("; {leftovers} of interrupted runs removed"));
    }
    if report.two_phase {
        text.push_str("\nthis storage has no locks: unused packs are only marked now, and removed by a prune at least 23 hours later");
    }
    text
}
