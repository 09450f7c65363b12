//! `tik-backup repair`

use super::{Context, SUCCESS};
use crate::{
    error::Result,
    repository::{RepairReport, Repository},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write the index anew from the packs; no data is removed
    Index,
    /// Store again what is whole of damaged packs, and move these out of the repository
    Packs(Packs),
}

#[derive(Debug, clap::Args)]
pub(super) struct Packs {
    /// Ids of the damaged packs, as `tik-backup check --read-data` prints them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

pub(super) fn run(context: &Context, command: &Command) -> Result<u8> {
    let config = context.config()?;
    let repository = Repository::open(&config.repository)?;
    let wait = config.repository.lock_wait;
    let notice = |message: &str| context.printer.notice(message);
    if !repository.has_locks() {
        notice("this storage has no locks: make sure that no backup, prune or other repair runs meanwhile");
    }
    match command {
        Command::Index => {
            let report = repository.repair_index(wait, &context.cancel, &notice)?;
            context.printer.result(&report, || text(&report))?;
            Ok(if report.unreadable.is_empty() && report.blobs_lost == 0 { SUCCESS } else { 1 })
        }
        Command::Packs(Packs { ids }) => {
            let aside = config.state_dir.join("damaged-packs");
            let report = repository.repair_packs(ids, &aside, wait, &context.cancel, &notice)?;
            context.printer.result(&report, || {
                format!(
                    "{}\nthe damaged packs are in {}{}",
                    salvaged(&report),
                    aside.display(),
                    left(&report)
                )
            })?;
            Ok(if report.unreadable.is_empty() { SUCCESS } else { 1 })
        }
    }
}

fn text(report: &RepairReport) -> String {
    let mut text = format!(
        "the index is complete: {} packs in the repository, {} of them were in no index file",
        report.packs, report.indexed
    );
    if report.lost > 0 {
        text.push_str(&format!(
            "\n{} packs that the index listed are gone: run a backup, which stores again what the sources still have, then \
             `tik-backup check`",
            report.lost
        ));
    }
    if report.blobs_salvaged + report.blobs_lost > 0 {
        text.push_str(&format!("\n{}", salvaged(report)));
    }
    text.push_str(&left(report));
    text
}

/// A line for each pack that was left where it is.
fn left(report: &RepairReport) -> String {
    report
        .unreadable
        .iter()
        .map(|pack| format!("\nUNREADABLE: pack {pack}; it was left where it is"))
        .collect()
}

fn salvaged(report: &RepairReport) -> String {
    let mut text =
        format!("{} chunks and folders of damaged packs were whole and stored again", report.blobs_salvaged);
    if report.blobs_lost > 0 {
        text.push_str(&format!(
            "; {} are lost: run a backup, which stores again what the sources still have, then `tik-backup check`",
            report.blobs_lost
        ));
    }
    text
}
