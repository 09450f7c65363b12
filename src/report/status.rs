//! The ledger as text: a summary, then the problems, then one line for each item.

use std::collections::HashMap;

use jiff::Zoned;

use crate::{
    alert::{Cause, causes, own_lines},
    history::ledger::{ChannelEntry, Entry, Ledger, Point, ProblemKind, State},
    output::{Screen, count, name, printable, size, table, time, width},
    repository::HostShare,
};

/// Options for the text.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The screen it is printed on.
    pub screen: Screen,
    /// Whether to include items that are excluded, that vanished and are no problem, and those of unconfigured sources.
    pub all: bool,
}

/// Indentation of the further lines of a problem.
const SET_IN: usize = 4;

/// The ledger as text.
pub fn text(ledger: &Ledger, style: Style) -> String {
    let mut text = verdict(ledger, style);
    text.push_str(&only_other_hosts(ledger));
    problems(ledger, style, &mut text);
    let quiet = |entry: &Entry| {
        entry.problems.is_empty()
            && matches!(entry.state, State::Excluded | State::Unconfigured | State::Vanished)
    };
    let mut shown: Vec<&Entry> = ledger.items.iter().filter(|entry| style.all || !quiet(entry)).collect();
    shown.sort_by_key(|entry| (entry.problems.is_empty(), entry.state));
    if !shown.is_empty() {
        text.push('\n');
        text.push_str(&items(&shown, &ledger.at, style));
    }
    let hidden: Vec<&Entry> = ledger.items.iter().filter(|entry| !style.all && quiet(entry)).collect();
    if !hidden.is_empty() {
        let number = |state: State| hidden.iter().filter(|entry| entry.state == state).count();
        let counts: Vec<String> = [
            (State::Excluded, "excluded by a rule"),
            // Vanished items that were accepted or never backed up.
            (State::Vanished, "gone"),
            (State::Unconfigured, "of sources no longer configured"),
        ]
        .into_iter()
        .filter(|(state, _)| number(*state) > 0)
        .map(|(state, what)| format!("{} {what}", number(state)))
        .collect();
        text.push_str(&paragraph(&format!("Not shown: {} (--all shows them)", counts.join(", ")), style));
    }
    rest(ledger, style, &mut text);
    text
}

fn verdict(ledger: &Ledger, style: Style) -> String {
    let summary = &ledger.summary;
    let proven = format!("{} of {} proven", summary.proven, summary.expected);
    let fresh = ledger.items.iter().filter(|entry| entry.state == State::New).count();
    let line = if !summary.ok {
        // An item counts once, however many problems it has.
        let number = match wrong(ledger) {
            0 => 0,
            number => number + ledger.problems.len() as u64,
        };
        let what = match (number, &ledger.repository.error) {
            (_, Some(_)) => "THE REPOSITORY CANNOT BE READ".to_owned(),
            (0, None) if ledger.problems.iter().any(|problem| problem.kind != ProblemKind::History) => {
                "A PROBLEM WITH THE REPOSITORY".to_owned()
            }
            (0, None) if !ledger.problems.is_empty() => "A PROBLEM WITH THE HISTORY".to_owned(),
            (0, None) => "ALERTS DO NOT ARRIVE".to_owned(),
            (1, _) => "1 PROBLEM".to_owned(),
            (number, _) => format!("{number} PROBLEMS"),
        };
        format!(
            "{what}: {} of {} {} backed up in time; {proven}.",
            summary.backed_up,
            count(summary.expected, "item"),
            if summary.expected == 1 { "is" } else { "are" }
        )
    } else if summary.expected == 0 {
        "Nothing is backed up yet.".to_owned()
    } else if fresh > 0 {
        let are = if fresh == 1 { "is" } else { "are" };
        format!(
            "{} of {} are backed up in time, {fresh} {are} new and not yet due; {proven}.",
            summary.backed_up,
            count(summary.expected, "item")
        )
    } else if summary.expected == 1 {
        format!("The only item is backed up in time; {proven}.")
    } else {
        format!("All {} items are backed up in time; {proven}.", summary.expected)
    };
    let colour = if summary.ok { GREEN } else { RED };
    painted_lines(&line, colour, style)
}

/// Number of items with a problem. An item counts once, however many problems it has; a source that failed as a whole
/// counts for its items that were not backed up.
fn wrong(ledger: &Ledger) -> u64 {
    let (mut own, mut whole): (HashMap<&str, u64>, HashMap<&str, u64>) = Default::default();
    let mut bare = 0;
    for entry in ledger.items.iter().filter(|entry| !entry.problems.is_empty()) {
        let stands_for = entry.problems.iter().filter_map(|problem| problem.items).max();
        match (&entry.item, stands_for) {
            (Some(_), _) => *own.entry(&entry.source).or_default() += 1,
            (None, Some(items)) => _ = whole.insert(&entry.source, items),
            (None, None) => bare += 1,
        }
    }
    for (source, items) in whole {
        let own = own.entry(source).or_default();
        *own = items.max(*own);
    }
    bare + own.values().sum::<u64>()
}

/// A paragraph, wrapped to the width of the terminal, with its further lines indented.
fn paragraph(line: &str, style: Style) -> String {
    style.screen.wrapped(line, 0, SET_IN) + "\n"
}

/// The same in colour.
fn painted_lines(line: &str, colour: &str, style: Style) -> String {
    style.screen.wrapped(line, 0, SET_IN).lines().map(|line| painted(line, colour, style) + "\n").collect()
}

/// Indented lines with details.
fn detail(text: &str, style: Style) -> String {
    let line = |line: &str| format!("{:SET_IN$}{}\n", "", style.screen.wrapped(line, SET_IN, SET_IN));
    printable(text).lines().map(line).collect()
}

/// On a machine that replaces another, backups must not appear to be lost.
fn only_other_hosts(ledger: &Ledger) -> String {
    let others = &ledger.repository.other_hosts;
    if ledger.repository.snapshots > 0 || others.is_empty() {
        return String::new();
    }
    format!(
        "THIS HOST, {}, HAS NO SNAPSHOT IN THE REPOSITORY; others have: {}. The notes below say how to use them.\n",
        name(&ledger.host),
        HostShare::list(others)
    )
}

fn problems(ledger: &Ledger, style: Style, text: &mut String) {
    // The repository's error is not repeated for each source.
    let known =
        |cause: &Cause| ledger.repository.error.as_ref().is_some_and(|error| error.text == cause.text);
    let (away, causes): (Vec<_>, Vec<_>) = causes(&own_lines(ledger)).into_iter().partition(known);
    for cause in &causes {
        text.push_str(&block(cause, &ledger.at, style));
    }
    if let Some(error) = &ledger.repository.error {
        text.push_str(&format!("\n{}", painted_lines("the repository cannot be read", RED, style)));
        text.push_str(&detail(&error.to_string(), style));
        for cause in &away {
            text.push_str(&detail(
                &format!("the last attempt failed for this reason: {}", cause.who()),
                style,
            ));
        }
        text.push_str(&detail("the following is as of the last time it could be read", style));
    }
    for channel in ledger.alerts.iter().filter(|channel| channel.failing_since.is_some()) {
        text.push_str(&failing(channel, &ledger.at, style));
    }
}

fn block(cause: &Cause, now: &Zoned, style: Style) -> String {
    let (first, further) = cause.text.split_once('\n').unwrap_or((&cause.text, ""));
    let head = format!("{}: {}", cause.who(), printable(first));
    let mut text = format!("\n{}", painted_lines(&head, RED, style));
    text.push_str(&detail(further, style));
    if let Some(since) = &cause.since {
        text.push_str(&format!("    since {}{}\n", day(since), lasted(since, now)));
    }
    if let Some(hint) = &cause.hint {
        let arrow = if style.screen.unicode { "→" } else { "->" };
        let lead = format!("{:SET_IN$}{arrow} ", "");
        let hang = width(&lead);
        for (number, line) in printable(hint).lines().enumerate() {
            let lead = if number == 0 { lead.clone() } else { " ".repeat(hang) };
            text.push_str(&format!("{lead}{}\n", style.screen.wrapped(line, hang, hang)));
        }
    }
    text
}

fn failing(channel: &ChannelEntry, now: &Zoned, style: Style) -> String {
    let head = format!("alerts through {} do not arrive", name(&channel.channel));
    let mut text = format!("\n{}", painted_lines(&head, RED, style));
    text.push_str(&detail(channel.error.as_deref().unwrap_or_default(), style));
    let since = channel.failing_since.as_ref();
    let since =
        since.map(|since| format!("since {}{}; ", day(since), lasted(since, now))).unwrap_or_default();
    let wait = if channel.waiting == 1 { "waits" } else { "wait" };
    text.push_str(&detail(
        &format!("{since}{} {wait} for the next run", count(channel.waiting, "message")),
        style,
    ));
    text
}

fn items(shown: &[&Entry], now: &Zoned, style: Style) -> String {
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|entry| {
            vec![
                word(entry.state).to_owned(),
                name(&entry.name()),
                entry.age_seconds.map_or_else(|| "-".to_owned(), age),
                entry.proof_age_seconds.map_or_else(|| "never".to_owned(), age),
                entry.bytes.map(size).unwrap_or_default(),
                trend(&entry.trend, style),
                remark(entry, now),
            ]
        })
        .collect();
    let headings = ["STATE", "ITEM", ">AGE", ">PROVEN", ">SIZE", "?TREND", "NEXT"];
    let plain = table(&style.screen, &headings, &rows);
    if !style.screen.colour {
        return plain;
    }
    let mut lines = plain.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (line, entry) in lines.zip(shown) {
        let word = word(entry.state);
        let colour = match entry.state {
            State::Protected => GREEN,
            State::New | State::Excluded | State::Unconfigured => GREY,
            _ if entry.problems.is_empty() => GREY,
            State::Partial | State::Suspicious | State::NotProven | State::Vanished => YELLOW,
            _ => RED,
        };
        let rest = line.strip_prefix(word).unwrap_or(line);
        text.push_str(&format!("{}{rest}\n", painted(word, colour, style)));
    }
    text
}

/// When the item is due next, or why it is not.
fn remark(entry: &Entry, now: &Zoned) -> String {
    match (entry.state, &entry.why, &entry.next) {
        (State::Excluded | State::Unconfigured | State::Vanished, Some(why), _) => {
            name(why.lines().next().unwrap_or_default())
        }
        (_, _, Some(next)) if next.date() == now.date() => next.strftime("%H:%M").to_string(),
        (_, _, Some(next)) => next.strftime("%a %H:%M").to_string(),
        _ => String::new(),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Failed => "FAILED",
        State::NeverBackedUp => "NEVER BACKED UP",
        State::Late => "LATE",
        State::Unchecked => "UNCHECKED",
        State::Partial => "PARTIAL",
        State::Suspicious => "SUSPICIOUS",
        State::Vanished => "VANISHED",
        State::NotProven => "NOT PROVEN",
        State::New => "new",
        State::Protected => "ok",
        State::Excluded => "excluded",
        State::Unconfigured => "unconfigured",
    }
}

/// Sparkline of the sizes, and the change from the last but one to the last.
fn trend(points: &[Point], style: Style) -> String {
    let [.., before, last] = points else { return String::new() };
    let signs: Vec<char> = if style.screen.unicode { "▁▂▃▄▅▆▇█" } else { "_.-=+*#@" }.chars().collect();
    let most = points.iter().map(|point| point.bytes).max().unwrap_or(0).max(1);
    let column = |bytes: u64| {
        let index = (bytes as f64 / most as f64 * (signs.len() - 1) as f64).round() as usize;
        signs[index.min(signs.len() - 1)]
    };
    let columns: String = points.iter().map(|point| column(point.bytes)).collect();
    let change = if before.bytes == 0 {
        String::new()
    } else {
        let percent = (last.bytes as f64 / before.bytes as f64 - 1.0) * 100.0;
        if percent.abs() < 0.5 { String::new() } else { format!(" {percent:+.0}%") }
    };
    format!("{columns}{change}")
}

fn rest(ledger: &Ledger, style: Style, text: &mut String) {
    text.push('\n');
    for run in &ledger.running {
        let items: Vec<_> = run.items.iter().take(5).map(|item| name(item)).collect();
        let now = if items.is_empty() { String::new() } else { format!(", now at {}", items.join(", ")) };
        let what = if run.kind == "drill" { "A drill is running" } else { "Running" };
        text.push_str(&paragraph(&format!("{what} since {}{now}", time(&run.started)), style));
    }
    if let Some(seconds) = ledger.summary.restore_seconds {
        let guessed = match ledger.summary.restore_unmeasured {
            0 => String::new(),
            number => format!(" ({} by size alone)", count(number, "item")),
        };
        let line = format!(
            "Restoring all of it takes about {} as measured by drills{guessed}",
            crate::output::duration(seconds)
        );
        text.push_str(&paragraph(&line, style));
    }
    for entry in ledger.items.iter().filter(|entry| entry.problems.is_empty() || entry.state != State::Failed)
    {
        for note in &entry.notes {
            text.push_str(&paragraph(
                &format!("Note on {}: {}", name(&entry.name()), printable(note)),
                style,
            ));
        }
    }
    let repository = &ledger.repository;
    let mut parts = vec![count(repository.snapshots, "snapshot")];
    parts.extend(repository.bytes.map(|bytes| format!("{} stored", size(bytes))));
    parts.extend(repository.free.map(|free| format!("{} free", size(free))));
    let line = format!("Repository {}: {}", printable(&repository.location), parts.join(", "));
    text.push_str(&paragraph(&line, style));
    for note in orphans(ledger)
        .into_iter()
        .chain(ledger.notes.iter().cloned())
        .chain(crate::survey::shared_note(repository))
    {
        text.push_str(&paragraph(&format!("Note: {}", printable(&note)), style));
    }
}

/// A note on snapshots of sources that are not configured. Recent ones should not be removed: they probably belong to
/// another configuration.
fn orphans(ledger: &Ledger) -> Vec<String> {
    let orphaned = |entry: &&Entry| entry.state == State::Unconfigured && entry.snapshots > 0;
    let recent = |entry: &&Entry| {
        entry.last_backup.as_ref().is_some_and(|made| crate::survey::is_recent(made, ledger.at.timestamp()))
    };
    let (alive, gone): (Vec<&Entry>, Vec<&Entry>) = ledger.items.iter().filter(orphaned).partition(recent);
    let gone = (!gone.is_empty()).then(|| {
        let count = count(gone.len(), "item");
        format!("there are snapshots of {count} of sources that are no longer configured: `tik-backup forget` lists them")
    });
    let alive = (!alive.is_empty()).then(|| {
        let count = count(alive.len(), "item");
        format!(
            "there are recent snapshots of {count} of sources that this configuration does not have: they were taken out of it, or \
             another configuration of this host backs them up"
        )
    });
    gone.into_iter().chain(alive).collect()
}

/// An age in seconds, short.
fn age(seconds: i64) -> String {
    match seconds {
        // Clocks differ: a time slightly in the future counts as now.
        ..120 => format!("{} s", seconds.max(0)),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        172_800..5_184_000 => format!("{} days", seconds / 86_400),
        _ => format!("{} weeks", seconds / 604_800),
    }
}

fn day(time: &Zoned) -> String {
    time.strftime("%a %Y-%m-%d %H:%M").to_string()
}

fn lasted(since: &Zoned, now: &Zoned) -> String {
    let seconds = since.duration_until(now).as_secs();
    if seconds < 60 { String::new() } else { format!(", {}", age(seconds)) }
}

const RED: &str = "31;1";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const GREY: &str = "90";

fn painted(text: &str, colour: &str, style: Style) -> String {
    if style.screen.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "status_tests.rs"]
mod tests;
