//! `tik-backup init`

use super::{Context, SUCCESS};
use crate::{
    config::Config,
    error::Result,
    history::History,
    repository::{Initialised, Repository},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The repository has moved from here to the configured location: go on with its history (proofs, what was accepted)
    #[arg(long, value_name = "LOCATION")]
    moved_from: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    if let Some(old) = &args.moved_from {
        return moved(context, &config, old);
    }
    let done = Repository::init(&config.repository)?;
    let location = config.repository.location.to_string();
    let created = done == Initialised::Created;
    let document = serde_json::json!({"location": location, "created": created});
    context.printer.result(&document, || match done {
        Initialised::Created => format!(
            "created a repository at {location}\nKeep a copy of its password elsewhere: without it nothing can be restored."
        ),
        Initialised::Present => format!("there is a repository at {location}, and the password opens it"),
    })?;
    Ok(SUCCESS)
}

/// Nothing is created: what has moved is there.
fn moved(context: &Context, config: &Config, old: &str) -> Result<u8> {
    let repository = Repository::open(&config.repository)?;
    let done = History::moved_from(config, &repository, old)?;
    let document = serde_json::json!({"location": repository.location(), "created": false, "moved": done});
    context.printer.result(&document, || done.clone())?;
    Ok(SUCCESS)
}
