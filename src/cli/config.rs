//! `tik-backup config`

use super::{Context, SUCCESS};
use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the configuration and that every secret file it names can be read
    Check,
}

pub(super) fn run(context: &Context, Command::Check: &Command) -> Result<u8> {
    let config = context.config()?;
    config.validate_secrets()?;
    let document = serde_json::json!({"config": config.path, "sources": config.sources.len()});
    context.printer.result(&document, || {
        format!("{}: valid, {} sources", config.path.display(), config.sources.len())
    })?;
    Ok(SUCCESS)
}
