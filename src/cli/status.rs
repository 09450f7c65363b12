//! `tik-backup status`

use std::path::PathBuf;

use super::{Context, FOUND, SUCCESS};
use crate::{
    alert::{self, Cause},
    error::Result,
    fs::write_to,
    history::ledger::Ledger,
    output::Screen,
    report::{
        metrics,
        status::{Style, text},
    },
    survey,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End with code 5 if anything is failed, late, partial, suspicious, vanished or unproven, or if alerts do not arrive
    #[arg(long)]
    check: bool,
    /// Also show excluded items and items of sources that are no longer configured
    #[arg(long)]
    all: bool,
    /// Show the state of another host, derived from its snapshots in the repository alone
    #[arg(long, value_name = "HOST", conflicts_with = "prometheus")]
    host: Option<String>,
    /// Print metrics in Prometheus' text format
    #[arg(long, conflicts_with = "all")]
    prometheus: bool,
    /// Write the metrics to this file instead, atomically
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    output: Option<PathBuf>,
}

/// The output of `--json`: the ledger, and its problems by cause.
#[derive(serde::Serialize)]
struct Document<'l> {
    #[serde(flatten)]
    ledger: &'l Ledger,
    causes: Vec<Cause>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let (config, foreign) = context.config_of(args.host.as_deref())?;
    let seen = if foreign {
        survey::ledger_of_host(config, &context.cancel)?
    } else {
        // An unusable history is a problem in the ledger, not an error here.
        survey::ledger(&config, &context.cancel).or_else(|_| {
            context.cancel.check()?;
            survey::ledger_despite_errors(&config, &context.cancel)
        })?
    };
    let ledger = &seen.ledger;
    if args.prometheus {
        let metrics = metrics::prometheus(ledger)?;
        match &args.output {
            Some(path) => {
                write_to(path, &metrics)?;
                context.written(path)?;
            }
            None => context.printer.text(&metrics)?,
        }
    } else {
        let style = Style { screen: Screen::of_stdout(), all: args.all };
        let causes = alert::causes(&alert::own_lines(ledger));
        context.printer.result(&Document { ledger, causes }, || text(ledger, style))?;
    }
    Ok(match &seen.refused {
        Some(error) => {
            if args.prometheus || context.printer.is_json() {
                context.printer.error(error);
            }
            error.code()
        }
        None if args.check && !ledger.summary.ok => FOUND,
        None => SUCCESS,
    })
}
