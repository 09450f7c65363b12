//! What is told: the problems of the ledger, compared with what was told before.

use super::cause::{Cause, THE_REPOSITORY, causes};
use crate::{
    config::{AlertKind, Config},
    error::Result,
    history::{
        History,
        incidents::News,
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

/// What is wrong with items, sources and the history of a ledger, as lines of a message.
pub fn own_lines(ledger: &Ledger) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for entry in &ledger.items {
        lines.extend(entry.problems.iter().map(|problem| line(&entry.name(), problem)));
    }
    lines.extend(ledger.problems.iter().map(|problem| line(problem.subject(), problem)));
    lines
}

/// Everything that is wrong in a ledger, as lines of a message.
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

/// Compares the ledger with what was told, and queues a message for each channel that it concerns. What `once` says is told
/// besides.
pub fn after(config: &Config, history: &History, ledger: &Ledger, once: &[Line]) -> Result<News> {
    let lines = lines(ledger);
    // A source that failed is not well again because its items tell the failure now.
    let is_told_by_items = |line: &Line| {
        let failed = ProblemKind::Failed.as_str();
        let is_item =
            |other: &Line| other.subject.split_once('/').is_some_and(|(source, _)| source == line.subject);
        line.kind == failed && lines.iter().any(|other| other.kind == failed && is_item(other))
    };
    history.tell(&lines, once, &ledger.at, config.remind_every, |news| {
        let mut messages = Vec::new();
        for alert in config.alerts.iter().filter(|alert| !matches!(alert.kind, AlertKind::Heartbeat(_))) {
            let concerns = |line: &&Line| {
                let source = line.subject.split('/').next().unwrap_or_default();
                // What is no source of the configuration concerns all.
                config.source(source).is_none() || alert.sources.matched(source).is_some()
            };
            let part = |lines: &[Line]| lines.iter().filter(concerns).cloned().collect::<Vec<_>>();
            let news = News {
                new: part(&news.new),
                persisting: part(&news.persisting),
                recovered: part(&news.recovered).into_iter().filter(|line| !is_told_by_items(line)).collect(),
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
