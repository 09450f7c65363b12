//! `tik-backup watch`

use super::{Context, FOUND, SUCCESS};
use crate::{
    alert::{self, message::Line},
    error::Result,
    history::ledger::Problem,
    output::{name, time},
    report,
};

/// How long telling may take.
const BUDGET: std::time::Duration = std::time::Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<u8> {
    let config = context.config()?;
    // Without a history that can be used it is told that there is none.
    let seen = report::ledger(&config, &context.cancel).or_else(|error| {
        context.cancel.check()?;
        let seen = report::ledger_whatever(&config, &context.cancel)?;
        context.printer.notice(&format!("warning: {error}"));
        Ok::<_, crate::error::Error>(seen)
    })?;
    let cancel = alert::within(BUDGET);
    let delivery = alert::tell(&config, &seen.history, &seen.ledger, &[], &cancel)?;
    let mut lines = alert::lines(&seen.ledger);
    // That nothing can be written may have turned out only now.
    if let Some(error) = seen.history.failure().filter(|_| seen.ledger.problems.is_empty()) {
        let problem = Problem::of_history(&error);
        let subject = problem.subject().to_owned();
        let kind = problem.kind.as_str().to_owned();
        lines.push(Line { subject, kind, text: problem.text, since: None, hint: problem.hint });
    }
    let document = serde_json::json!({
        "at": seen.ledger.at,
        "summary": seen.ledger.summary,
        "problems": lines,
        "alerts": delivery,
    });
    context.printer.result(&document, || {
        let mut text = String::new();
        for line in &lines {
            let since =
                line.since.as_ref().map(|since| format!(" (since {})", time(since))).unwrap_or_default();
            text.push_str(&format!(
                "{}: {}{since}\n",
                name(&line.subject),
                crate::output::printable(&line.text)
            ));
        }
        if lines.is_empty() {
            text.push_str(&format!("all {} items are well\n", seen.ledger.summary.expected));
        }
        text
    })?;
    for failure in &delivery.failed {
        context.printer.notice(&format!("{}: COULD NOT ALERT: {}", failure.channel, failure.error));
    }
    Ok(match &seen.refused {
        Some(error) => error.code(),
        None if !lines.is_empty() => FOUND,
        None if !delivery.failed.is_empty() => 1,
        None => SUCCESS,
    })
}
