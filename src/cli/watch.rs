//! `tik-backup watch`

use super::{Context, FOUND, SUCCESS};
use crate::{
    alert,
    error::Result,
    history::ledger::{Problem, ProblemKind},
    output::{Screen, printable, time},
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
    let known = seen.ledger.problems.iter().any(|problem| problem.kind == ProblemKind::History);
    if let Some(error) = seen.history.failure().filter(|_| !known) {
        let problem = Problem::of_history(&error);
        lines.push(alert::line(problem.subject(), &problem));
    }
    let causes = alert::causes(&lines);
    let document = serde_json::json!({
        "at": crate::moment::rfc3339(&seen.ledger.at),
        "summary": seen.ledger.summary,
        "problems": lines,
        "causes": causes,
        "alerts": delivery,
    });
    context.printer.result(&document, || {
        let (mut text, screen) = (String::new(), Screen::of_stdout());
        for cause in &causes {
            let since =
                cause.since.as_ref().map(|since| format!(" (since {})", time(since))).unwrap_or_default();
            let told = format!("{}: {}{since}", cause.who(), printable(&cause.text));
            for (number, line) in told.lines().enumerate() {
                let (lead, begin) = if number == 0 { ("", 0) } else { ("    ", 4) };
                text.push_str(&format!("{lead}{}\n", screen.wrapped(line, begin, 4)));
            }
        }
        if lines.is_empty() {
            let expected = seen.ledger.summary.expected;
            let all = if expected == 1 {
                "the only item is well".to_owned()
            } else {
                format!("all {expected} items are well")
            };
            text.push_str(&format!("{all}\n"));
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
