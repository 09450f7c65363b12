//! `tik-backup runbook`

use std::path::PathBuf;

use super::{Context, SUCCESS};
use crate::{
    error::Result,
    fs::write_to,
    report::runbook::{self, Known},
    repository::Repository,
    survey,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write it to this file, atomically, instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Use the configuration alone, without reading the repository
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let known = if args.offline {
        Known::default()
    } else {
        let seen = survey::ledger(&config, &context.cancel)?;
        if let Some(error) = seen.refused {
            return Err(error.hint("`tik-backup runbook --offline` needs the configuration alone"));
        }
        Known::of(&Repository::open(&config.repository)?, &seen.ledger, &context.cancel)?
    };
    for problem in &known.problems {
        context.printer.notice(&format!("warning: {problem}"));
    }
    let text = runbook::text(&config, &known);
    match &args.output {
        Some(path) => {
            write_to(path, &text)?;
            context.written(path)?;
        }
        None => context.printer.text(&text)?,
    }
    Ok(SUCCESS)
}
