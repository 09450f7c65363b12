//! `tik-backup repair`

use jiff::Zoned;

use super::{Context, SUCCESS, check::written_down};
use crate::{
    config::Config,
    error::{Error, Result},
    output::count,
    repository::{Patience, RepairReport, Repository, patiently},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Rebuild the index from the packs; no data is removed. Exit code 1 if packs are missing or cannot be read
    Index(Index),
    /// Store the intact data of damaged packs again, and move these packs out of the repository. Exit code 1 if data is lost
    Packs(Packs),
}

#[derive(Debug, clap::Args)]
pub(super) struct Index {
    /// Continue even if most of the packs are missing: the storage is mounted completely, and they really are lost
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Packs {
    /// Ids of the damaged packs, as `tik-backup check --read-data` prints them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// The next step after a loss.
const STORE_AGAIN: &str =
    "run a backup, which stores lost data again if the sources still have it, then `tik-backup check`";

pub(super) fn run(context: &Context, command: &Command) -> Result<u8> {
    let config = context.config()?;
    let notice = |message: &str| context.printer.notice(message);
    let report = patiently(config.repository.retry_for, &context.cancel, &notice, |patience| {
        repair(context, &config, command, patience)
    })?;
    context.printer.result(&report, || text(&report, command, &config))?;
    Ok(if report.is_whole() { SUCCESS } else { 1 })
}

fn repair(
    context: &Context,
    config: &Config,
    command: &Command,
    patience: &Patience,
) -> Result<RepairReport> {
    let repository = Repository::open_patiently(&config.repository, patience)?;
    let wait = config.repository.lock_wait;
    let notice = |message: &str| context.printer.notice(message);
    if !repository.has_locks() {
        notice(
            "this storage has no locks: make sure that no backup, prune or other repair runs at the same time",
        );
    }
    let report = match command {
        Command::Index(Index { force }) => repository.repair_index(*force, wait, &context.cancel, &notice),
        Command::Packs(Packs { ids }) => {
            let aside = config.state_dir.join("damaged-packs");
            repository.repair_packs(ids, &aside, wait, &context.cancel, &notice)
        }
    }?;
    if report.lost + report.blobs_lost > 0 {
        // Later commands cannot see the loss: lost packs are no longer in the index.
        let loss = Error::failed(format!("a repair has found lost data: {}", found(&report).join("; ")));
        written_down(config, &repository, &notice, |history| history.note_loss(&loss, &Zoned::now()));
    }
    Ok(report)
}

/// A line for each finding, and the verdict as the last line.
fn text(report: &RepairReport, command: &Command, config: &Config) -> String {
    let mut lines = found(report);
    match command {
        Command::Index(_) => lines.push(index_verdict(report)),
        Command::Packs(_) => {
            if report.moved > 0 {
                let (packs, were) = (count(report.moved, "damaged pack"), were(report.moved));
                let aside = config.state_dir.join("damaged-packs");
                lines.push(format!("{packs} {were} moved to {}", aside.display()));
            }
            lines.push(packs_verdict(report));
        }
    }
    lines.join("\n")
}

fn found(report: &RepairReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.lost > 0 {
        lines.push(format!(
            "LOST: {} that the index listed {} not in the storage",
            count(report.lost, "pack"),
            if report.lost == 1 { "is" } else { "are" }
        ));
    }
    if report.blobs_salvaged > 0 {
        let (blobs, were) = (blobs(report.blobs_salvaged), were(report.blobs_salvaged));
        lines.push(format!("{blobs} of damaged packs {were} intact and stored again"));
    }
    if report.blobs_lost > 0 {
        lines.push(format!("LOST: {} of damaged packs", blobs(report.blobs_lost)));
    }
    // Each of these packs was left in place.
    let unreadable = report.unreadable.iter();
    lines.extend(unreadable.map(|pack| format!("UNREADABLE: pack {pack}; it was left in place")));
    lines
}

fn index_verdict(report: &RepairReport) -> String {
    let packs = format!(
        "{} in the repository, {} of them {} in no index file",
        count(report.packs, "pack"),
        report.indexed,
        were(report.indexed)
    );
    if report.is_whole() {
        return format!("the index is complete: {packs}");
    }
    let mut what = Vec::new();
    if report.lost > 0 {
        let (packs, are) = (count(report.lost, "pack"), if report.lost == 1 { "is" } else { "are" });
        what.push(format!("{packs} {are} missing"));
    }
    if report.blobs_lost > 0 {
        what.push("data of damaged packs is lost".to_owned());
    }
    if !report.unreadable.is_empty() {
        what.push(cannot_be_read(report));
    }
    format!("the index was rebuilt ({packs}), but {}: {}", what.join(", and "), next(report))
}

fn packs_verdict(report: &RepairReport) -> String {
    match (report.blobs_lost > 0, report.unreadable.is_empty()) {
        (false, true) => "no data of the damaged packs is lost".to_owned(),
        (true, true) => format!("data of the damaged packs is lost: {}", next(report)),
        (true, false) => {
            format!("data of the damaged packs is lost, and {}: {}", cannot_be_read(report), next(report))
        }
        (false, false) => format!("{}: {}", cannot_be_read(report), next(report)),
    }
}

fn cannot_be_read(report: &RepairReport) -> String {
    format!("{} cannot be read", count(report.unreadable.len(), "pack"))
}

fn next(report: &RepairReport) -> &'static str {
    if report.lost + report.blobs_lost > 0 {
        STORE_AGAIN
    } else {
        "docs/operations.md has all steps under \"Damage\""
    }
}

/// A number of chunks and directories.
fn blobs(number: u64) -> String {
    if number == 1 { "1 chunk or directory".to_owned() } else { format!("{number} chunks and directories") }
}

fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_called_complete_only_if_nothing_is_lost_or_unreadable() {
        let whole = RepairReport { packs: 5, indexed: 1, ..RepairReport::default() };
        assert_eq!(
            index_verdict(&whole),
            "the index is complete: 5 packs in the repository, 1 of them was in no index file"
        );
        for report in [
            RepairReport { lost: 1, ..whole.clone() },
            RepairReport { blobs_lost: 1, ..whole.clone() },
            RepairReport { unreadable: vec!["12: its header is damaged".to_owned()], ..whole.clone() },
        ] {
            assert!(!report.is_whole());
            assert!(!index_verdict(&report).contains("complete"), "{report:?}");
        }
    }

    #[test]
    fn one_and_several_have_the_right_words() {
        let one = RepairReport { lost: 1, blobs_salvaged: 1, blobs_lost: 1, ..RepairReport::default() };
        assert_eq!(
            found(&one),
            [
                "LOST: 1 pack that the index listed is not in the storage",
                "1 chunk or directory of damaged packs was intact and stored again",
                "LOST: 1 chunk or directory of damaged packs"
            ]
        );
        let two = RepairReport { lost: 2, blobs_salvaged: 2, ..RepairReport::default() };
        assert_eq!(
            found(&two),
            [
                "LOST: 2 packs that the index listed are not in the storage",
                "2 chunks and directories of damaged packs were intact and stored again"
            ]
        );
    }
}
