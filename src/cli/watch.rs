//! `tik-backup watch`

use super::{Context, FOUND, SUCCESS};
use crate::{
    alert,
    error::Result,
    history::ledger::{Ledger, Problem, ProblemKind, State},
    output::{Screen, count, lines::Priority, printable, time},
    survey,
};

/// How long the delivery of alerts may take.
const BUDGET: std::time::Duration = std::time::Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<u8> {
    let config = context.config()?;
    // An unusable history is alerted as a problem.
    let seen = survey::ledger(&config, &context.cancel).or_else(|_| {
        context.cancel.check()?;
        survey::ledger_despite_errors(&config, &context.cancel)
    })?;
    let cancel = alert::within(BUDGET);
    let delivery = alert::notify(&config, &seen.history, &seen.ledger, &[], &cancel)?;
    let mut lines = alert::lines(&seen.ledger);
    // The history may have become unwritable only now.
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
            text.push_str(&format!("{}\n", all_well(&seen.ledger)));
        }
        text
    })?;
    for failure in &delivery.failed {
        context
            .printer
            .say(Priority::Error, &format!("{}: COULD NOT ALERT: {}", failure.channel, failure.error));
    }
    Ok(match &seen.refused {
        Some(error) => error.code(),
        None if !lines.is_empty() => FOUND,
        None if !delivery.failed.is_empty() => 1,
        None => SUCCESS,
    })
}

/// The summary if nothing is wrong. New items are not counted as well.
fn all_well(ledger: &Ledger) -> String {
    let expected = ledger.summary.expected;
    let fresh = ledger.items.iter().filter(|entry| entry.state == State::New).count() as u64;
    match (expected, fresh) {
        (0, _) => "nothing is backed up yet".to_owned(),
        (1, 0) => "the only item is well".to_owned(),
        (1, _) => "the only item is new and not yet due".to_owned(),
        (_, 0) => format!("all {expected} items are well"),
        (_, _) => {
            let well = expected.saturating_sub(fresh);
            let verb = |number: u64| if number == 1 { "is" } else { "are" };
            let items = count(expected, "item");
            format!("{well} of {items} {} well, {fresh} {} new and not yet due", verb(well), verb(fresh))
        }
    }
}
