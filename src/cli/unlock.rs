//! `tik-backup unlock`

use super::{Context, SUCCESS};
use crate::{
    error::Result,
    output::name,
    repository::{FoundLock, Repository},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also remove locks of processes that may be running: only when nothing uses the repository
    #[arg(long)]
    all: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let repository = Repository::open(&config.repository)?;
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for lock in repository.locks()? {
        if args.all || lock.stale.is_some() {
            repository.remove_lock(&lock)?;
            removed.push(lock);
        } else {
            kept.push(lock);
        }
    }
    let document = serde_json::json!({"removed": removed, "kept": kept});
    context.printer.result(&document, || text(&repository, &removed, &kept))?;
    Ok(SUCCESS)
}

fn text(repository: &Repository, removed: &[FoundLock], kept: &[FoundLock]) -> String {
    if !repository.has_locks() {
        return "this storage has no locks".to_owned();
    }
    let mut lines = Vec::new();
    for lock in removed {
        let why = lock.stale.unwrap_or("removed with --all");
        lines.push(format!("removed {}: {why}", name(&lock.owner)));
    }
    for lock in kept {
        lines.push(format!("kept {}: it may be in use", name(&lock.owner)));
    }
    if !kept.is_empty() {
        lines.push("--all removes these as well: only when nothing uses the repository".to_owned());
    }
    if lines.is_empty() {
        lines.push("there are no locks".to_owned());
    }
    lines.join("\n")
}
