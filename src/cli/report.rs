//! `tik-backup report`

use std::path::PathBuf;

use super::{Context, SUCCESS};
use crate::{error::Result, fs::write_to, report::dashboard, survey};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write the overview as one self-contained HTML file, for mail or a static host
    #[arg(long, value_name = "FILE", required = true)]
    html: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let seen = survey::ledger(&config, &context.cancel)?;
    write_to(&args.html, &dashboard::report(&seen.ledger))?;
    context.written(&args.html)?;
    // The report and the exit code both show that the repository could not be used.
    Ok(seen.refused.map_or(SUCCESS, |error| error.code()))
}
