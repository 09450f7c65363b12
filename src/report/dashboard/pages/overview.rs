//! The overview: whether everything is covered, backed up and proven, and the list of items.

use std::cmp::Ordering;

use maud::{Markup, html};
use serde::Deserialize;

use super::{Binding, ago, badge, chart, count, grade, item_link, link, moment, page, sign, word};
use crate::{
    history::ledger::{Entry, Ledger, Running, State},
    output::{duration, printable, size, time},
};

/// Filter and order of the list of items.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Filter {
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    sort: String,
    #[serde(default)]
    dir: String,
}

/// Whether the name contains all words of `text`, ignoring case.
pub(in super::super) fn matches(name: &str, text: &str) -> bool {
    let name = name.to_lowercase();
    text.to_lowercase().split_whitespace().all(|word| name.contains(word))
}

impl Filter {
    fn wants(&self, entry: &Entry) -> bool {
        let state = match self.state.as_str() {
            "" => !matches!(entry.state, State::Excluded | State::Unconfigured),
            "all" => true,
            "problem" => !entry.problems.is_empty(),
            state => entry.state.as_str() == state,
        };
        state && (self.source.is_empty() || entry.source == self.source) && matches(&entry.name(), &self.q)
    }

    fn sorted<'a>(&self, ledger: &'a Ledger) -> Vec<&'a Entry> {
        let mut items: Vec<_> = ledger.items.iter().filter(|entry| self.wants(entry)).collect();
        let by = |a: &Entry, b: &Entry| match self.sort.as_str() {
            "item" => a.name().cmp(&b.name()),
            "backup" => a
                .last_backup
                .as_ref()
                .map(|at| at.timestamp())
                .cmp(&b.last_backup.as_ref().map(|at| at.timestamp())),
            "proof" => a
                .last_proof
                .as_ref()
                .map(|at| at.timestamp())
                .cmp(&b.last_proof.as_ref().map(|at| at.timestamp())),
            "size" => a.bytes.cmp(&b.bytes),
            "seconds" => a.seconds.partial_cmp(&b.seconds).unwrap_or(Ordering::Equal),
            "next" => a.next.as_ref().map(|at| at.timestamp()).cmp(&b.next.as_ref().map(|at| at.timestamp())),
            // The worst first: `State` is ordered this way.
            _ => a.state.cmp(&b.state),
        };
        items.sort_by(|a, b| {
            let order = by(a, b);
            let order = if self.dir == "desc" { order.reverse() } else { order };
            order.then_with(|| (&a.source, &a.item).cmp(&(&b.source, &b.item)))
        });
        items
    }

    /// The URL of the same view sorted by a column, reversed if it already is.
    fn sorting(&self, column: &str) -> String {
        let dir = if self.sort == column && self.dir != "desc" { "desc" } else { "" };
        let query = [
            ("q", self.q.as_str()),
            ("state", &self.state),
            ("source", &self.source),
            ("sort", column),
            ("dir", dir),
        ];
        link("/", &query)
    }

    fn aria(&self, column: &str) -> Option<&'static str> {
        let here = self.sort == column || self.sort.is_empty() && column == "state";
        here.then_some(if self.dir == "desc" { "descending" } else { "ascending" })
    }
}

/// One of the three questions with its answer.
struct Answer {
    question: &'static str,
    grade: &'static str,
    good: u64,
    sentence: String,
}

fn counted(ledger: &Ledger, state: State) -> u64 {
    ledger.summary.states.iter().find(|count| count.state == state).map_or(0, |count| count.items)
}

/// A number with the singular or plural form.
fn of(number: u64, one: &str, several: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { several })
}

/// A number of things.
fn many(number: u64, one: &str) -> String {
    format!("{} {}", count(number), crate::output::plural(number, one))
}

fn answers(ledger: &Ledger) -> [Answer; 3] {
    let summary = &ledger.summary;
    let fresh = counted(ledger, State::New);
    let silent =
        ledger.items.iter().filter(|entry| entry.item.is_none() && !entry.problems.is_empty()).count() as u64;
    let expected = |entry: &&Entry| {
        !matches!(entry.state, State::Vanished | State::Excluded | State::Unconfigured)
            && entry.item.is_some()
    };
    let covered = ledger.items.iter().filter(expected).filter(|entry| entry.snapshots > 0).count() as u64;
    let covered = covered.min(summary.expected);
    let cover = cover(ledger, covered, silent, fresh);
    let backup = backup(ledger, silent, fresh);
    let proof = proof(ledger);
    [
        Answer { question: "Covered", grade: cover.0, good: covered, sentence: cover.1 },
        Answer { question: "Backed up", grade: backup.0, good: summary.backed_up, sentence: backup.1 },
        Answer { question: "Proven", grade: proof.0, good: summary.proven, sentence: proof.1 },
    ]
}

/// Whether all items have a backup: `covered` items have one, `silent` sources could not be queried, `fresh` items are
/// not due yet.
fn cover(ledger: &Ledger, covered: u64, silent: u64, fresh: u64) -> (&'static str, String) {
    let summary = &ledger.summary;
    let vanished = counted(ledger, State::Vanished);
    match ((summary.expected - covered).saturating_sub(fresh), vanished) {
        _ if silent > 0 => {
            ("bad", format!("{} could not be listed: missing items are unknown.", many(silent, "source")))
        }
        (0, 0) if summary.expected == 0 => ("bad", "There is nothing to back up.".to_owned()),
        (0, 0) if fresh > 0 => {
            ("none", format!("{} and not yet due.", of(fresh, "item is new", "items are new")))
        }
        (0, 0) => ("good", "All items have a backup.".to_owned()),
        (0, gone) => (
            "warn",
            format!(
                "All existing items have a backup; {} the sources.",
                of(gone, "item vanished from", "items vanished from")
            ),
        ),
        (none, _) => ("bad", format!("{} no backup at all.", of(none, "item has", "items have"))),
    }
}

/// Whether every backup is good and recent enough.
fn backup(ledger: &Ledger, silent: u64, fresh: u64) -> (&'static str, String) {
    let summary = &ledger.summary;
    let failed = counted(ledger, State::Failed) + silent;
    let late = counted(ledger, State::Late);
    let suspicious = counted(ledger, State::Suspicious);
    let partial = counted(ledger, State::Partial);
    let missing = summary.expected.saturating_sub(summary.backed_up + fresh);
    if failed > 0 {
        let more = match missing.saturating_sub(failed - silent) {
            0 => String::new(),
            more => format!(" {} no good backup in time.", of(more, "more has", "more have")),
        };
        ("bad", format!("{} at the last attempt.{more}", of(failed, "failed", "failed")))
    } else if late > 0 {
        ("warn", format!("{}: no backup ran in time.", of(late, "is late", "are late")))
    } else if missing > 0 {
        ("bad", format!("{} no good backup in time.", of(missing, "has", "have")))
    } else if suspicious > 0 {
        (
            "warn",
            format!(
                "{}: check before older snapshots are removed.",
                of(suspicious, "changed suspiciously", "changed suspiciously")
            ),
        )
    } else if partial > 0 {
        ("warn", format!("{} unreadable objects.", of(partial, "lacks", "lack")))
    } else {
        ("good", "Every backup is recent enough.".to_owned())
    }
}

/// Whether backups were proven by restoring them.
fn proof(ledger: &Ledger) -> (&'static str, String) {
    let summary = &ledger.summary;
    let unproven = summary.expected.saturating_sub(summary.proven);
    let disproven = ledger
        .items
        .iter()
        .filter(|entry| {
            entry
                .problems
                .iter()
                .any(|problem| problem.kind == crate::history::ledger::ProblemKind::NotProven)
        })
        .count() as u64;
    if disproven > 0 {
        (
            "warn",
            format!("{} by a drill, or too long ago.", of(disproven, "was not proven", "were not proven")),
        )
    } else if unproven > 0 {
        ("none", format!("{} still to be proven by a drill.", of(unproven, "is", "are")))
    } else {
        let all = summary.restore_seconds.map(|seconds| format!(" All of it: about {}.", duration(seconds)));
        ("good", format!("The backups were restored and compared.{}", all.unwrap_or_default()))
    }
}

/// Title of the page: the worst problem, or that there is none.
fn headline(ledger: &Ledger) -> (&'static str, String) {
    if let Some(error) = &ledger.repository.error {
        return ("bad", format!("The repository cannot be read: {}", printable(&error.to_string())));
    }
    if let Some(problem) = ledger.problems.first() {
        return ("bad", format!("{}: {}", problem.subject(), printable(&problem.text)));
    }
    if let Some(channel) = ledger.alerts.iter().find(|channel| channel.failing_since.is_some()) {
        return ("bad", format!("Alerts do not arrive through {}", printable(&channel.channel)));
    }
    let worst = ledger.items.iter().filter(|entry| !entry.problems.is_empty()).map(|entry| entry.state).min();
    match worst {
        None if ledger.summary.ok => ("good", "All is well".to_owned()),
        None => ("warn", "Attention needed".to_owned()),
        Some(state) => {
            let items = ledger
                .items
                .iter()
                .filter(|entry| entry.state == state && !entry.problems.is_empty())
                .count();
            let grade = grade(state);
            (if grade == "bad" { "bad" } else { "warn" }, format!("{} {}", count(items as u64), word(state)))
        }
    }
}

pub(in super::super) fn overview(ledger: &Ledger, wanted: &Filter) -> Markup {
    let (grade, text) = headline(ledger);
    let body = html! {
        div id="live" {
            (first_view(ledger, true))
            (table(ledger, wanted, true))
        }
    };
    page(&format!("{} {text}", sign(grade)), "/", &Binding::Served, &body)
}

/// The overview as a self-contained file.
pub(super) fn alone(ledger: &Ledger) -> Markup {
    let (grade, text) = headline(ledger);
    let body = html! {
        (first_view(ledger, false))
        (table(ledger, &Filter::default(), false))
    };
    page(&format!("{} {text}", sign(grade)), "", &Binding::Alone, &body)
}

fn first_view(ledger: &Ledger, served: bool) -> Markup {
    let (grade, text) = headline(ledger);
    html! {
        h1.headline.(grade) { span aria-hidden="true" { (sign(grade)) } " " (text) }
        @for cause in crate::alert::causes(&crate::alert::own_lines(ledger)).iter().filter(|cause| cause.subjects.len() > 1) {
            div.problem {
                p { (cause.who()) }
                pre.error { (printable(&cause.text)) }
                @if let Some(hint) = &cause.hint { p { "→ " (printable(hint)) } }
            }
        }
        section.answers aria-label="Summary" {
            @for answer in answers(ledger) {
                div.answer.(answer.grade) {
                    h2 { (answer.question) " " span.sign aria-hidden="true" { (sign(answer.grade)) } }
                    p.number { (count(answer.good)) span.of { " of " (count(ledger.summary.expected)) } }
                    p { (answer.sentence) }
                }
            }
        }
        p.faint {
            (ledger.host) " · as of " time datetime=(ledger.at.timestamp()) { (time(&ledger.at)) }
            " · repository " code { (printable(&ledger.repository.location)) }
            @if let Some(bytes) = ledger.repository.bytes { " " (size(bytes)) }
            @if let Some(free) = ledger.repository.free { ", " (size(free)) " free" }
            ", " (count(ledger.repository.snapshots)) " snapshots"
        }
        @for problem in &ledger.problems {
            p.note {
                strong { (problem.subject()) ": " } (printable(&problem.text))
                @if let Some(hint) = &problem.hint { " → " (printable(hint)) }
            }
        }
        @for note in &ledger.notes { p.note { (printable(note)) } }
        @if let Some(note) = crate::survey::shared_note(&ledger.repository) { p.note { (printable(&note)) } }
        @if served { @for run in &ledger.running { (running(run, ledger)) } }
    }
}

fn running(run: &Running, ledger: &Ledger) -> Markup {
    let seconds = ledger.at.timestamp().as_second() - run.started.timestamp().as_second();
    html! {
        p.running {
            "A " (run.kind) " is running, begun " (ago(seconds)) ": "
            a href=(format!("/runs/{}", run.run)) { (many(run.items.len() as u64, "item")) " at this moment" }
        }
    }
}

fn table(ledger: &Ledger, wanted: &Filter, served: bool) -> Markup {
    let items = wanted.sorted(ledger);
    let columns = [
        ("state", "State", ""),
        ("item", "Item", ""),
        ("backup", "Last backup", ""),
        ("proof", "Last proof", ""),
        ("size", "Size", "number"),
        ("seconds", "Took", "number"),
        ("next", "Next", ""),
    ];
    html! {
        @if served { (filter(ledger, wanted)) }
        div.scroll tabindex="0" role="region" aria-label="Items" {
            table.items {
                caption { span.shown { (count(items.len() as u64)) } " of " (count(ledger.items.len() as u64)) " items" }
                thead { tr {
                    @for (key, name, class) in columns {
                        th scope="col" class=(class) aria-sort=[wanted.aria(key).filter(|_| served)] {
                            @if served { a href=(wanted.sorting(key)) { (name) } } @else { (name) }
                        }
                    }
                } }
                tbody {
                    @for entry in items { (row(entry, served)) }
                }
            }
        }
    }
}

fn filter(ledger: &Ledger, wanted: &Filter) -> Markup {
    html! {
        form.filter method="get" action="/" role="search" aria-label="Filter the items" {
            label { "Name " input type="search" name="q" value=(wanted.q) autocomplete="off"; }
            label { "State "
                select name="state" {
                    @for (value, name) in [("", "expected"), ("problem", "with a problem"), ("all", "all")] {
                        option value=(value) selected[wanted.state == value] { (name) }
                    }
                    @for state in State::ALL {
                        option value=(state.as_str()) selected[wanted.state == state.as_str()] {
                            (word(state)) " (" (counted(ledger, state)) ")"
                        }
                    }
                }
            }
            label { "Source "
                select name="source" {
                    option value="" { "all" }
                    @for source in &ledger.sources {
                        option value=(source.source) selected[wanted.source == source.source] { (source.source) }
                    }
                }
            }
            @for (name, value) in [("sort", &wanted.sort), ("dir", &wanted.dir)] {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            button type="submit" { "Show" }
        }
    }
}

fn row(entry: &Entry, served: bool) -> Markup {
    let sizes: Vec<u64> = entry.trend.iter().map(|point| point.bytes).collect();
    let times: Vec<u64> = entry.trend.iter().map(|point| (point.seconds * 1000.0) as u64).collect();
    let name = printable(&entry.name());
    html! {
        tr {
            td { (badge(entry.state)) }
            th scope="row" {
                @if served { a href=(item_link(&entry.source, entry.item.as_deref())) { (name) } } @else { (name) }
                @if let Some(why) = entry.why.as_ref().filter(|_| !entry.problems.is_empty()) {
                    div.why { (printable(why).lines().next().unwrap_or_default()) }
                }
            }
            td { (moment(entry.last_backup.as_ref(), entry.age_seconds)) }
            td { (moment(entry.last_proof.as_ref(), entry.proof_age_seconds)) }
            td.number { @if let Some(bytes) = entry.bytes { (size(bytes)) } (chart::line(&sizes, "size over time")) }
            td.number { @if let Some(seconds) = entry.seconds { (duration(seconds)) } (chart::line(&times, "duration over time")) }
            td { @if let Some(next) = &entry.next { time datetime=(next.timestamp()) { (next.strftime("%a %H:%M")) } } @else { span.faint { "–" } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_have_to_be_there() {
        assert!(matches("Main/Größe", "GRÖ main"));
        assert!(!matches("main/shop", "main wiki"));
        assert!(matches("anything", ""));
    }
}
