//! `tik-backup config`

use super::{Context, SUCCESS};
use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the configuration and that every secret file it names can be read
    Check {
        /// Look at the configuration alone, not at the files it names: for where they are not, such as a build
        #[arg(long)]
        offline: bool,
    },
}

pub(super) fn run(context: &Context, Command::Check { offline }: &Command) -> Result<u8> {
    let config = context.config()?;
    if !offline {
        config.validate_secrets()?;
        config.validate_folders()?;
    }
    let document = serde_json::json!({"config": config.path, "sources": config.sources.len()});
    context.printer.result(&document, || {
        format!("{}: valid, {} sources", config.path.display(), config.sources.len())
    })?;
    Ok(SUCCESS)
}
