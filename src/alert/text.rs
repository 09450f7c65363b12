//! Renders a message as plain text.

use std::collections::{HashMap, HashSet};

use jiff::Zoned;

use super::cause::{Cause, causes, source_of};
use crate::{
    history::{
        ledger::Shared,
        message::{Line, Message, Purpose},
    },
    output::{count, name, printable, time},
};

/// Lines shown of a text; `status` shows the rest.
const LINES: usize = 15;
/// Names shown in a title.
const NAMED: usize = 2;

impl Message {
    /// The title: one line.
    pub fn title(&self) -> String {
        let host = name(&self.host);
        let what = match self.purpose {
            Purpose::Test => "a test alert".to_owned(),
            Purpose::Problem => summary(&self.new),
            Purpose::Reminder => format!("still: {}", summary(&self.persisting)),
            Purpose::Recovery if self.persisting.is_empty() => {
                format!("resolved: {}", subjects(&self.recovered))
            }
            Purpose::Recovery => {
                format!("resolved: {}; still: {}", subjects(&self.recovered), summary(&self.persisting))
            }
        };
        format!("tik-backup on {host}: {what}")
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let several =
            [&self.new, &self.persisting, &self.recovered].iter().filter(|l| !l.is_empty()).count() > 1;
        for (heading, lines) in
            [("NEW", &self.new), ("STILL", &self.persisting), ("RESOLVED", &self.recovered)]
        {
            if lines.is_empty() {
                continue;
            }
            if several || heading == "RESOLVED" {
                text.push_str(heading);
                text.push_str(":\n");
            }
            match heading {
                "RESOLVED" => {
                    let lines: Vec<Line> = lines.iter().map(alike).collect();
                    causes(&lines).iter().for_each(|cause| text.push_str(&recovered(cause, &self.at)));
                }
                _ => causes(lines).iter().for_each(|cause| text.push_str(&block(cause, &self.at))),
            }
            text.push('\n');
        }
        for remark in &self.remarks {
            text.push_str(&printable(remark));
            text.push('\n');
        }
        text.trim_end().to_owned() + "\n"
    }
}

fn block(cause: &Cause, now: &Zoned) -> String {
    let mut lines = cause.text.lines();
    let first = lines.next().unwrap_or_default();
    let mut text = format!("- {}: {}\n", cause.who(), printable(first));
    let rest: Vec<&str> = lines.collect();
    for line in rest.iter().take(LINES) {
        text.push_str(&format!("    {}\n", printable(line)));
    }
    if rest.len() > LINES {
        text.push_str(&format!("    … {}\n", count(rest.len() - LINES, "more line")));
    }
    if let Some(since) = &cause.since {
        text.push_str(&format!("    since {}{}\n", time(since), ago(since, now)));
    }
    if let Some(hint) = &cause.hint {
        text.push_str(&format!("    → {}\n", printable(hint)));
    }
    text
}

/// A line about a recovery. Problems whose texts differ only by age or name are one cause again.
fn alike(line: &Line) -> Line {
    let has_its_own = ["late", "vanished", "excluded"].contains(&line.kind.as_str());
    let shared = has_its_own.then(|| Shared {
        key: line.kind.clone(),
        text: words(&line.kind).to_owned(),
        hint: None,
    });
    Line { cause: shared, ..line.clone() }
}

fn recovered(cause: &Cause, now: &Zoned) -> String {
    let since = cause.since.as_ref();
    let lasted = since.map(|since| format!(" (it began {}{})", time(since), ago(since, now)));
    let first = cause.text.lines().next().unwrap_or_default();
    format!("- {}: resolved: {}{}\n", cause.who(), printable(first), lasted.unwrap_or_default())
}

/// The duration, if it is at least an hour.
fn ago(since: &Zoned, now: &Zoned) -> String {
    let hours = since.duration_until(now).as_hours();
    match hours {
        ..1 => String::new(),
        1..48 => format!(", {hours} h"),
        _ => format!(", {} days", hours / 24),
    }
}

/// Counts items by kind of problem and lists the first names. An item with several problems is counted once, by the
/// worst. An unreachable repository counts for all items that were not backed up because of it.
fn summary(lines: &[Line]) -> String {
    let causes = causes(lines);
    let mut parts = Vec::new();
    let repository = causes.iter().find(|cause| cause.is_of_repository());
    if let Some(cause) = repository {
        parts.push(match cause.items {
            Some(items) => format!("the repository refused: {} not backed up", count(items, "item")),
            None => "the repository refused".to_owned(),
        });
    }
    // A source is not a subject if its items are named.
    let others = causes.iter().filter(|cause| !cause.is_of_repository());
    let subjects_left: HashSet<&str> =
        others.flat_map(|cause| cause.subjects.iter().map(String::as_str)).collect();
    let is_of_repository = |subject: &String| {
        repository.is_some_and(|cause| cause.subjects.contains(subject) || cause.covers(subject))
    };
    let rest: Vec<&Line> = lines
        .iter()
        .filter(|line| subjects_left.contains(line.subject.as_str()) && !is_of_repository(&line.subject))
        .collect();
    let counts = by_kind(&worst(&rest), &causes);
    parts.extend(counts.iter().map(|(kind, count)| format!("{count} {}", words(kind))));
    let text = parts.join(", ");
    if rest.is_empty() { text } else { format!("{text} ({})", subjects(rest)) }
}

/// Each subject once, with its worst kind of problem.
fn worst<'l>(lines: &[&'l Line]) -> Vec<(&'l str, &'l str)> {
    let mut worst: Vec<(&str, &str)> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    for line in lines {
        let known = index.entry(&line.subject).or_insert(worst.len());
        match worst.get_mut(*known) {
            Some((_, kind)) if rank(&line.kind) < rank(kind) => *kind = &line.kind,
            Some(_) => {}
            None => worst.push((line.subject.as_str(), line.kind.as_str())),
        }
    }
    worst
}

/// Number of items for each kind. A source counts for the items that it represents, which are not counted again.
fn by_kind<'l>(worst: &[(&'l str, &'l str)], causes: &[Cause]) -> Vec<(&'l str, u64)> {
    let failed = ["failed", "never-backed-up", "late"];
    let stands = |source: &str| causes.iter().find_map(|cause| cause.items_of(source));
    let mut kinds: Vec<(&str, u64)> = Vec::new();
    for (subject, kind) in worst {
        let is_item = subject.contains('/');
        if is_item && failed.contains(kind) && stands(source_of(subject)).is_some() {
            continue;
        }
        let items = if is_item { 1 } else { stands(subject).unwrap_or(1) };
        match kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, count)) => *count += items,
            None => kinds.push((kind, items)),
        }
    }
    kinds
}

/// Severity of a kind of problem, the worst first. Unknown kinds rank right after `failed`.
fn rank(kind: &str) -> usize {
    const WORST: [&str; 11] = [
        "repository",
        "unit",
        "failed",
        "",
        "never-backed-up",
        "late",
        "unchecked",
        "partial",
        "anomaly",
        "vanished",
        "excluded",
    ];
    let last = if kind == "not-proven" { WORST.len() } else { 3 };
    WORST.iter().position(|known| *known == kind).unwrap_or(last)
}

fn subjects<'l>(lines: impl IntoIterator<Item = &'l Line>) -> String {
    let mut names: Vec<String> = Vec::new();
    for line in lines {
        let subject = name(&line.subject);
        if !names.contains(&subject) {
            names.push(subject);
        }
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

fn words(kind: &str) -> &str {
    match kind {
        "failed" => "FAILED",
        "unit" => "unit FAILED",
        "never-backed-up" => "never backed up",
        "late" => "LATE",
        "unchecked" => "UNCHECKED",
        "partial" => "PARTIAL",
        "anomaly" => "SUSPICIOUS",
        "vanished" => "vanished",
        "excluded" => "no longer backed up",
        "not-proven" => "not proven",
        "future-snapshot" => "dated in the FUTURE",
        "repository" => "repository refused",
        "history" => "history problem",
        "damage" => "repository DAMAGED",
        "snapshots-gone" => "snapshots GONE",
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(subject: &str, kind: &str, text: &str) -> Line {
        Line {
            subject: subject.to_owned(),
            kind: kind.to_owned(),
            text: text.to_owned(),
            since: Some("2026-11-20T02:00:00+00:00[UTC]".parse().unwrap()),
            hint: Some("do this".to_owned()),
            ..Line::default()
        }
    }

    fn message(purpose: Purpose) -> Message {
        Message {
            purpose,
            at: "2026-11-23T02:00:00+00:00[UTC]".parse().unwrap(),
            host: "db1".to_owned(),
            new: Vec::new(),
            persisting: Vec::new(),
            recovered: Vec::new(),
            remarks: Vec::new(),
        }
    }

    #[test]
    fn the_title_says_what_is_wrong_and_where() {
        let mut message = message(Purpose::Problem);
        message.new = ["a", "b", "c"].map(|item| line(&format!("pg/{item}"), "failed", "no")).to_vec();
        assert_eq!(message.title(), "tik-backup on db1: 3 FAILED (pg/a, pg/b and 1 more)");
    }

    #[test]
    fn an_item_with_several_problems_counts_once_by_the_worst() {
        let mut message = message(Purpose::Problem);
        let kinds = ["late", "failed", "not-proven"];
        message.new = kinds
            .map(|kind| line("pg/a", kind, kind))
            .into_iter()
            .chain([line("pg/b", "late", "x")])
            .collect();
        assert_eq!(message.title(), "tik-backup on db1: 1 FAILED, 1 LATE (pg/a, pg/b)");
    }

    #[test]
    fn a_repository_that_refuses_is_counted_once_with_its_items() {
        let mut message = message(Purpose::Problem);
        let pg = Line { items: Some(8), ..line("pg", "failed", "it is away") };
        message.new = vec![pg.clone(), line("the repository", "repository", "it is away")];
        let title = "tik-backup on db1: the repository refused: 8 items not backed up";
        assert_eq!(message.title(), title);
        assert!(message.text().starts_with("- the repository refused, 8 items not backed up: it is away\n"));
        message.new.push(line("my/a", "late", "too old"));
        assert_eq!(message.title(), format!("{title}, 1 LATE (my/a)"));
        // There are no known items of a source that has never answered.
        let never = ["files", "pg"].map(|source| line(source, "failed", "it is away"));
        message.new = never.into_iter().chain([line("the repository", "repository", "it is away")]).collect();
        assert_eq!(message.title(), "tik-backup on db1: the repository refused");
    }

    #[test]
    fn titles_count_items_and_no_sources() {
        let mut message = message(Purpose::Problem);
        message.new =
            ["files", "files/a", "pg", "pg/a"].map(|subject| line(subject, "failed", "no space")).to_vec();
        assert_eq!(message.title(), "tik-backup on db1: 2 FAILED (files/a, pg/a)");
        message.new = vec![Line { items: Some(8), ..line("pg", "failed", "it is away") }];
        assert_eq!(message.title(), "tik-backup on db1: 8 FAILED (pg)");
        message.new.push(line("pg/a", "late", "too old"));
        assert!(message.title().starts_with("tik-backup on db1: 8 FAILED (pg"), "{}", message.title());
    }

    #[test]
    fn what_is_no_longer_late_is_told_once() {
        let mut message = message(Purpose::Recovery);
        message.recovered =
            vec![line("pg/a", "late", "38 seconds old"), line("pg/b", "late", "39 seconds old")];
        let text = message.text();
        assert!(text.contains("- 2 items (pg/a, pg/b): resolved: LATE"), "{text}");
    }

    #[test]
    fn one_cause_is_told_once_with_the_number_of_items() {
        let mut message = message(Purpose::Problem);
        message.new = ["a", "b", "c", "d"]
            .map(|item| line(&format!("pg/{item}"), "failed", "the storage is away"))
            .to_vec();
        let text = message.text();
        assert_eq!(text.matches("the storage is away").count(), 1, "{text}");
        assert!(text.starts_with("- 4 items (pg/a, pg/b, pg/c and 1 more): the storage is away\n"), "{text}");
        message.new.truncate(1);
        assert!(message.text().starts_with("- pg/a: the storage is away\n"), "{}", message.text());
    }

    #[test]
    fn the_text_says_what_since_when_and_what_to_do() {
        let mut message = message(Purpose::Problem);
        message.new = vec![line("pg/\u{1b}[31mred", "failed", "it broke\nlast words")];
        message.recovered = vec![line("pg/b", "late", "too old")];
        let text = message.text();
        assert!(
            text.starts_with("NEW:\n- pg/\\u{1b}[31mred: it broke\n    last words\n    since "),
            "{text}"
        );
        assert!(text.contains(", 3 days\n    → do this\n"), "{text}");
        assert!(text.contains("RESOLVED:\n- pg/b: resolved: too old (it began "), "{text}");
    }

    #[test]
    fn long_texts_are_cut() {
        let mut message = message(Purpose::Problem);
        let long: String = (0..100).map(|n| format!("{n}\n")).collect();
        message.new = vec![line("pg/a", "failed", &long)];
        assert!(message.text().contains("    … 84 more lines\n"), "{}", message.text());
    }
}
