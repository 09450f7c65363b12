//! `tik-backup alert`

use super::{Context, SUCCESS};
use crate::{
    alert::{self, Monitor},
    config::Config,
    error::{Error, Result},
    history::{Check, History},
    output::lines::Priority,
    survey,
};

/// How long the delivery of alerts may take.
const BUDGET: std::time::Duration = std::time::Duration::from_secs(300);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Send a test alert through every channel
    Test,
    /// Send an alert about a failed systemd unit, for `OnFailure=`
    UnitFailed {
        /// Name of the unit
        unit: String,
    },
}

pub(super) fn run(context: &Context, command: &Command) -> Result<u8> {
    let config = context.config()?;
    if config.alerts.is_empty() {
        return Err(Error::usage("the configuration has no alerts")
            .hint("add a section [[alerts]]; docs/alerts.md describes it"));
    }
    match command {
        Command::Test => test(context, &config),
        Command::UnitFailed { unit } => unit_failed(context, &config, unit),
    }
}

fn test(context: &Context, config: &Config) -> Result<u8> {
    let history = History::open(config, Check::Quick);
    if let Err(error) = &history {
        context.printer.notice(&format!("warning: {error}"));
    }
    let tested = alert::test(config, history.as_ref().ok(), &context.cancel);
    let failed = tested.iter().filter(|(_, _, outcome)| outcome.is_err()).count();
    let document: Vec<_> = tested
        .iter()
        .map(|(channel, kind, outcome)| {
            let error = outcome.as_ref().err().map(ToString::to_string);
            serde_json::json!({"channel": channel, "kind": kind, "ok": outcome.is_ok(), "error": error})
        })
        .collect();
    context.printer.result(&serde_json::json!({"channels": document}), || {
        let line = |(channel, kind, outcome): &(String, &str, Result<()>)| match outcome {
            Ok(()) => format!("{channel} ({kind}): ok\n"),
            Err(error) => format!("{channel} ({kind}): FAILED: {error}\n"),
        };
        tested.iter().map(line).collect()
    })?;
    Ok(if failed == 0 {
        SUCCESS
    } else if failed < tested.len() {
        3
    } else {
        1
    })
}

fn unit_failed(context: &Context, config: &Config, unit: &str) -> Result<u8> {
    let seen = survey::ledger_despite_errors(config, &context.cancel)?;
    let line = alert::unit_failed(&seen.history, unit, &Monitor::from_environment())?;
    let cancel = alert::within(BUDGET);
    let delivery = alert::notify(config, &seen.history, &seen.ledger, line.as_slice(), &cancel)?;
    let document = serde_json::json!({"unit": unit, "told": line.is_some(), "alerts": delivery});
    context.printer.result(&document, || {
        let text = match (&line, delivery.failed.is_empty()) {
            (None, _) => "its own run has already sent an alert",
            (Some(_), true) => "alert sent",
            (Some(_), false) => "the alert could not be sent through every channel",
        };
        text.to_owned()
    })?;
    for failure in &delivery.failed {
        context
            .printer
            .say(Priority::Error, &format!("{}: COULD NOT ALERT: {}", failure.channel, failure.error));
    }
    Ok(if delivery.failed.is_empty() { SUCCESS } else { 1 })
}
