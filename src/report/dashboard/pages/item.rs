//! Pages of a single item with its past, and of a single source with its items.

use jiff::Zoned;
use maud::{Markup, html};

use super::{Binding, badge, chart, count, item_link, moment, outcome, page, sign};
use crate::{
    config::Config,
    history::{
        ledger::{Entry, SourceEntry, State},
        pages::{Attempt, ObjectPast, Past},
    },
    output::{duration, printable, size, time},
    report::runbook,
};

/// Number of recent backups in the charts, and in the table.
const DRAWN: usize = 90;
const LISTED: usize = 30;

pub(in super::super) fn item(config: &Config, entry: &Entry, past: &Past) -> Markup {
    let name = printable(&entry.name());
    let grade = super::grade(entry.state);
    let body = html! {
        p { a href="/" { "Overview" } " / " a href=(item_link(&entry.source, None)) { (printable(&entry.source)) } }
        h1 { (name) " " (badge(entry.state)) }
        @for problem in &entry.problems {
            div.problem {
                pre.error { (printable(&problem.text)) }
                @if let Some(hint) = &problem.hint { p { "→ " (printable(hint)) } }
                @if let Some(since) = &problem.since { p.faint { "since " (time(since)) } }
            }
        }
        (facts(entry))
        @for note in &entry.notes { p.note { (printable(note)) } }
        (snapshots(past))
        (backups(past))
        (objects(&past.objects))
        (drills(past))
        (commands(config, entry))
        (events(past))
    };
    page(&format!("{} {name}", sign(grade)), "", &Binding::Served, &body)
}

fn facts(entry: &Entry) -> Markup {
    html! {
        dl.facts {
            dt { "Last backup" } dd { (moment(entry.last_backup.as_ref(), entry.age_seconds)) }
            dt { "Last proof" } dd { (moment(entry.last_proof.as_ref(), entry.proof_age_seconds)) }
            @if let Some(bytes) = entry.bytes { dt { "Size" } dd { (size(bytes)) } }
            @if let Some(rows) = entry.rows { dt { "Rows, documents or files" } dd { (count(rows)) } }
            @if let Some(seconds) = entry.restore_seconds { dt { "A restore takes" } dd { (duration(seconds)) ", by the last drill" } }
            @if let Some(next) = &entry.next { dt { "Next run" } dd { (time(next)) } }
            dt { "Kind" } dd { (entry.kind) }
            @if entry.omitted > 0 { dt { "Lacking" } dd { (count(entry.omitted)) " objects that could not be read" } }
            @if entry.held { dt { "Retention" } dd { "held: no snapshot is removed until the change is accepted" } }
        }
    }
}

fn snapshots(past: &Past) -> Markup {
    let marks: Vec<_> = past
        .snapshots
        .iter()
        .map(|snapshot| chart::Mark {
            at: snapshot.time.timestamp().as_second(),
            title: format!("{}: {}", time(&snapshot.time), snapshot.reasons.join(", ")),
            keep: snapshot.keep,
        })
        .collect();
    html! {
        section {
            h2 { "Snapshots" }
            @if past.snapshots.is_empty() { p.faint { "none" } } @else {
                (chart::timeline(&marks, "Snapshots over time; filled: retention keeps it"))
                div.scroll tabindex="0" role="region" aria-label="Snapshots" { table {
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Id" } th.number scope="col" { "Size" } th scope="col" { "Retention" } } }
                    tbody {
                        @for snapshot in &past.snapshots {
                            tr {
                                th scope="row" { (time(&snapshot.time)) }
                                td { code { (snapshot.id.get(..8).unwrap_or_default()) } }
                                td.number { (size(snapshot.bytes)) }
                                td {
                                    @if snapshot.keep { "kept: " (snapshot.reasons.join(", ")) }
                                    @else { span.faint { "removed after the next good backup" } }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn backups(past: &Past) -> Markup {
    let drawn: Vec<_> = past.attempts.iter().take(DRAWN).rev().collect();
    let grade = |attempt: &Attempt| match attempt.outcome.as_str() {
        "ok" => "good",
        "failed" | "unchecked" => "bad",
        _ => "warn",
    };
    let bars = |value: &dyn Fn(&Attempt) -> (f64, String)| -> Vec<chart::Bar> {
        let bar = |attempt: &&Attempt| {
            let (value, text) = value(attempt);
            chart::Bar {
                value,
                title: format!("{}: {}, {text}", time(&attempt.started), attempt.outcome),
                grade: grade(attempt),
            }
        };
        drawn.iter().map(bar).collect()
    };
    let sizes = bars(&|attempt| {
        let bytes = attempt.bytes.or(attempt.bytes_read).unwrap_or(0);
        (bytes as f64, size(bytes))
    });
    let durations = bars(&|attempt| {
        let seconds = attempt.seconds.unwrap_or(0.0);
        (seconds, duration(seconds))
    });
    html! {
        section {
            h2 { "Backups" }
            @if past.attempts.is_empty() { p.faint { "none yet" } } @else {
                figure { figcaption { "Size" } (chart::bars(&sizes, "Size of each backup, oldest first")) }
                figure { figcaption { "Duration" } (chart::bars(&durations, "Duration of each backup, oldest first")) }
                div.scroll tabindex="0" role="region" aria-label="Backups" { table {
                    thead { tr {
                        th scope="col" { "Started" } th scope="col" { "Outcome" } th.number scope="col" { "Took" }
                        th.number scope="col" { "Size" } th.number scope="col" { "Rows" } th.number scope="col" { "Added" }
                    } }
                    tbody { @for attempt in past.attempts.iter().take(LISTED) { (backup(attempt)) } }
                } }
            }
        }
    }
}

fn backup(attempt: &Attempt) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(format!("/runs/{}", attempt.run)) { (time(&attempt.started)) } }
            td {
                (outcome(&attempt.outcome))
                @if let Some(error) = &attempt.error { pre.error { (printable(error)) } }
            }
            td.number { @if let Some(seconds) = attempt.seconds { (duration(seconds)) } }
            td.number { @if let Some(bytes) = attempt.bytes { (size(bytes)) } }
            td.number { @if let Some(rows) = attempt.rows { (count(rows)) } }
            td.number { @if let Some(bytes) = attempt.bytes_added { (size(bytes)) } }
        }
    }
}

fn objects(objects: &[ObjectPast]) -> Markup {
    if objects.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Contents" }
            div.scroll tabindex="0" role="region" aria-label="Tables and collections" { table {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "Kind" } th.number scope="col" { "Rows" }
                    th scope="col" { "Trend" } th scope="col" { "Last changed" }
                } }
                tbody {
                    @for object in objects {
                        @let rows: Vec<u64> = object.trend.iter().map(|point| point.rows).collect();
                        tr {
                            th scope="row" {
                                @if let Some(schema) = &object.schema { (printable(schema)) "." }
                                (printable(&object.name))
                            }
                            td { (object.kind) @if object.gone.is_some() { " " span.badge.warn { "! gone" } } }
                            td.number { (count(object.rows)) }
                            td { (chart::line(&rows, "rows over time")) }
                            td { (time(&object.changed)) }
                        }
                    }
                }
            } }
        }
    }
}

fn drills(past: &Past) -> Markup {
    html! {
        section {
            h2 { "Drills" }
            @if past.drills.is_empty() { p.faint { "No drill has restored it yet." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Drills" { table {
                    thead { tr {
                        th scope="col" { "Started" } th scope="col" { "Outcome" } th scope="col" { "Snapshot" } th.number scope="col" { "Took" }
                    } }
                    tbody {
                        @for drill in &past.drills {
                            tr {
                                th scope="row" { (time(&drill.time)) }
                                td {
                                    (outcome(&drill.outcome))
                                    @if let Some(detail) = &drill.detail { pre.error { (printable(detail)) } }
                                }
                                td { (time(&drill.snapshot_time)) " " code { (drill.snapshot.get(..8).unwrap_or(&drill.snapshot)) } }
                                td.number { @if let Some(seconds) = drill.seconds { (duration(seconds)) } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn commands(config: &Config, entry: &Entry) -> Markup {
    let Some(item) = entry.item.as_deref().filter(|_| entry.snapshots > 0) else { return html! {} };
    let Some(commands) = runbook::commands(config, &entry.source, item) else { return html! {} };
    html! {
        section {
            h2 { "Restore" }
            h3 { "With this program" }
            pre.copy { code { (printable(&commands.ours.join("\n"))) } }
            h3 { "With stock restic and native clients" }
            pre.copy { code { (printable(&commands.stock.join("\n"))) } }
        }
    }
}

fn events(past: &Past) -> Markup {
    if past.events.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Events" }
            ul { @for event in &past.events {
                li { (time(&event.time)) ": " (event.what)
                    @if let Some(detail) = &event.detail { ": " (printable(detail)) }
                }
            } }
        }
    }
}

pub(in super::super) fn source(config: &Config, source: &SourceEntry, items: &[Entry]) -> Markup {
    let shown = |at: Option<&Zoned>| at.map_or("never".to_owned(), time);
    let (excluded, there): (Vec<_>, Vec<_>) =
        items.iter().filter(|entry| entry.item.is_some()).partition(|entry| entry.state == State::Excluded);
    let itself = items.iter().find(|entry| entry.item.is_none());
    let body = html! {
        p { a href="/" { "Overview" } }
        h1 { (printable(&source.source)) }
        @for problem in itself.into_iter().flat_map(|entry| &entry.problems) {
            div.problem {
                pre.error { (printable(&problem.text)) }
                @if let Some(hint) = &problem.hint { p { "→ " (printable(hint)) } }
            }
        }
        dl.facts {
            dt { "Kind" } dd { (source.kind) }
            dt { "Schedule" } dd { (source.schedule.as_deref().unwrap_or("none: it is run by hand")) }
            dt { "Next run" } dd { (source.next.as_ref().map_or("–".to_owned(), time)) }
            dt { "Last run" } dd { (shown(source.last_run.as_ref())) }
            dt { "Last listed" } dd { (shown(source.last_discovery.as_ref())) }
            @if let Some(config) = config.source(&source.source) {
                @let kept = &config.retention;
                dt { "Keeps" }
                dd {
                    @for (number, what) in [(kept.keep_last, "last"), (kept.keep_hourly, "hourly"), (kept.keep_daily, "daily"),
                        (kept.keep_weekly, "weekly"), (kept.keep_monthly, "monthly"), (kept.keep_yearly, "yearly")] {
                        @if number > 0 { (number) " " (what) " " }
                    }
                    @if let Some(period) = kept.period() { "all within " (period) }
                }
            }
        }
        section {
            h2 { "Found in it (" (count(there.len() as u64)) ")" }
            div.scroll tabindex="0" role="region" aria-label="Items" { table {
                thead { tr { th scope="col" { "State" } th scope="col" { "Item" } th scope="col" { "Last backup" } th.number scope="col" { "Size" } } }
                tbody { @for entry in there {
                    tr {
                        td { (badge(entry.state)) }
                        th scope="row" { a href=(item_link(&entry.source, entry.item.as_deref())) { (printable(entry.item.as_deref().unwrap_or_default())) } }
                        td { (moment(entry.last_backup.as_ref(), entry.age_seconds)) }
                        td.number { @if let Some(bytes) = entry.bytes { (size(bytes)) } }
                    }
                } }
            } }
        }
        section {
            h2 { "Excluded (" (count(excluded.len() as u64)) ")" }
            @if excluded.is_empty() { p.faint { "nothing" } } @else {
                div.scroll tabindex="0" role="region" aria-label="Excluded" { table {
                    thead { tr { th scope="col" { "Item" } th scope="col" { "By which rule" } } }
                    tbody { @for entry in excluded {
                        tr {
                            th scope="row" { (printable(entry.item.as_deref().unwrap_or_default())) }
                            td { (printable(entry.why.as_deref().unwrap_or_default())) }
                        }
                    } }
                } }
            }
        }
    };
    page(&printable(&source.source), "", &Binding::Served, &body)
}
