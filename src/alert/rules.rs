//! Selects what to send: the problems of the ledger, compared with earlier alerts.

use super::cause::{Cause, THE_REPOSITORY, causes};
use crate::{
    config::{AlertKind, Config},
    error::Result,
    history::{
        History,
        incidents::Changes,
        ledger::{Ledger, Problem, ProblemKind},
        message::{Line, Message},
    },
};

/// A problem of a subject as a line of a message.
pub fn line(subject: &str, problem: &Problem) -> Line {
    Line {
        subject: subject.to_owned(),
        kind: problem.kind.as_str().to_owned(),
        text: problem.text.clone(),
        since: problem.since.clone(),
        hint: problem.hint.clone(),
        cause: problem.shared.clone(),
        items: problem.items,
    }
}

/// The problems of items, sources and the history in a ledger, as lines of a message.
pub fn own_lines(ledger: &Ledger) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for entry in &ledger.items {
        lines.extend(entry.problems.iter().map(|problem| line(&entry.name(), problem)));
    }
    lines.extend(ledger.problems.iter().map(|problem| line(problem.subject(), problem)));
    lines
}

/// All problems of a ledger, as lines of a message.
pub fn lines(ledger: &Ledger) -> Vec<Line> {
    let mut lines = own_lines(ledger);
    if let Some(error) = &ledger.repository.error {
        let alike = lines.iter().filter(|line| line.text == error.text && line.hint == error.hint);
        let items: u64 = causes(alike).iter().map(Cause::number).sum();
        lines.push(Line {
            subject: THE_REPOSITORY.to_owned(),
            kind: "repository".to_owned(),
            text: error.text.clone(),
            hint: error.hint.clone(),
            items: (items > 0).then_some(items),
            ..Line::default()
        });
    }
    lines
}

/// Compares the ledger with earlier alerts and queues a message for each channel concerned. The lines in `once` are
/// added.
pub fn after(config: &Config, history: &History, ledger: &Ledger, once: &[Line]) -> Result<Changes> {
    let lines = lines(ledger);
    // A failed source has not recovered just because its items now have the problem.
    let is_told_by_items = |line: &Line| {
        let failed = ProblemKind::Failed.as_str();
        let is_item =
            |other: &Line| other.subject.split_once('/').is_some_and(|(source, _)| source == line.subject);
        line.kind == failed && lines.iter().any(|other| other.kind == failed && is_item(other))
    };
    history.record_and_queue(&lines, once, &ledger.at, config.remind_every, |changes| {
        let mut messages = Vec::new();
        for alert in config.alerts.iter().filter(|alert| !matches!(alert.kind, AlertKind::Heartbeat(_))) {
            let concerns = |line: &&Line| {
                let source = line.subject.split('/').next().unwrap_or_default();
                // A problem that belongs to no configured source concerns all channels.
                config.source(source).is_none() || alert.sources.matched(source).is_some()
            };
            let part = |lines: &[Line]| lines.iter().filter(concerns).cloned().collect::<Vec<_>>();
            let news = Changes {
                new: part(&changes.new),
                persisting: part(&changes.persisting),
                recovered: part(&changes.recovered)
                    .into_iter()
                    .filter(|line| !is_told_by_items(line))
                    .collect(),
            };
            if news.is_empty() {
                continue;
            }
            messages.push((
                alert.name.clone(),
                Message {
                    purpose: news.purpose(),
                    at: ledger.at.clone(),
                    host: ledger.host.clone(),
                    remarks: ledger.notes.clone(),
                    new: news.new,
                    persisting: news.persisting,
                    recovered: news.recovered,
                },
            ));
        }
        messages
    })
}
