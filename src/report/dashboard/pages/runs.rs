//! Running and past runs.

use maud::{Markup, html};

use super::{Binding, count, item_link, link, outcome, page};
use crate::{
    history::pages::{Attempt, Progress, RunPast},
    output::{duration, printable, size, time},
};

pub(in super::super) fn runs(runs: &[RunPast]) -> Markup {
    let (now, before): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.ended.is_none());
    let body = html! {
        div id="live" {
            h1 { "Runs" }
            section {
                h2 { "Now" }
                @if now.is_empty() { p.faint { "Nothing is running." } }
                @for run in now { (going_on(run)) }
            }
            section {
                h2 { "Before" }
                div.scroll tabindex="0" role="region" aria-label="Runs" { table {
                    thead { tr {
                        th scope="col" { "Started" } th scope="col" { "Kind" } th scope="col" { "Outcome" } th scope="col" { "Sources" }
                        th.number scope="col" { "Succeeded" } th.number scope="col" { "Failed" }
                        th.number scope="col" { "Read" } th.number scope="col" { "Added" } th.number scope="col" { "Took" }
                    } }
                    tbody { @for run in &before { (row(run)) } }
                } }
                @if let Some(last) = runs.last().filter(|_| runs.len() >= 50) {
                    p { a href=(link("/runs", &[("before", &last.run)])) { "Older ones" } }
                }
            }
        }
    };
    page("Runs", "/runs", &Binding::Served, &body)
}

fn took(run: &RunPast) -> Option<f64> {
    let ended = run.ended.as_ref()?;
    Some(run.started.duration_until(ended).as_secs_f64())
}

fn row(run: &RunPast) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(format!("/runs/{}", run.run)) { (time(&run.started)) } }
            td { (run.kind) }
            td { (outcome(run.outcome.as_deref().unwrap_or("running"))) }
            td { (printable(&run.sources.join(", "))) }
            td.number { (count(run.succeeded)) }
            td.number { (count(run.failed)) }
            td.number { (size(run.bytes_read)) }
            td.number { (size(run.bytes_added)) }
            td.number { @if let Some(seconds) = took(run) { (duration(seconds)) } }
        }
    }
}

fn going_on(run: &RunPast) -> Markup {
    html! {
        div.run {
            p {
                "A " (run.kind) " of " (printable(&run.sources.join(", "))) ", begun "
                a href=(format!("/runs/{}", run.run)) { (time(&run.started)) }
            }
            @match &run.progress {
                Some(progress) => { (how_far(progress)) }
                None => { p.faint { (count(run.succeeded + run.failed)) " items are done." } }
            }
        }
    }
}

fn how_far(progress: &Progress) -> Markup {
    html! {
        p {
            @match progress.items {
                Some(items) => {
                    progress max=(items.max(1)) value=(progress.done) aria-label="Items that are done" {}
                    " " (count(progress.done)) " of " (count(items)) " items, " (count(items.saturating_sub(progress.done))) " left"
                }
                None => { "The sources are being asked what they have." }
            }
            @if progress.failed > 0 { ", " strong { (count(progress.failed)) " failed" } }
            " · " (size(progress.bytes)) " read, " (size(progress.bytes_per_second as u64)) "/s"
        }
        ul { @for item in &progress.running {
            li {
                (printable(&item.item)) ": " (size(item.bytes))
                @if let Some(estimate) = item.estimate { " of about " (size(estimate)) }
                ", since " (time(&item.started))
            }
        } }
    }
}

pub(in super::super) fn run(run: &RunPast, attempts: &[Attempt]) -> Markup {
    let body = html! {
        div id="live" {
            p { a href="/runs" { "Runs" } }
            h1 { (run.kind) " of " (time(&run.started)) " " (outcome(run.outcome.as_deref().unwrap_or("running"))) }
            @if let Some(error) = &run.error { pre.error { (printable(error)) } }
            @if let Some(progress) = &run.progress { (how_far(progress)) }
            dl.facts {
                dt { "Name" } dd { code { (run.run) } }
                dt { "Host" } dd { (printable(&run.host)) }
                dt { "Sources" } dd { (printable(&run.sources.join(", "))) }
                dt { "Succeeded" } dd { (count(run.succeeded)) }
                dt { "Failed" } dd { (count(run.failed)) }
                dt { "Read" } dd { (size(run.bytes_read)) ", " (size(run.bytes_added)) " of it new" }
                @if let Some(seconds) = took(run) { dt { "Took" } dd { (duration(seconds)) } }
            }
            @if !attempts.is_empty() {
                section {
                    h2 { "Items" }
                    div.scroll tabindex="0" role="region" aria-label="Items" { table {
                        thead { tr {
                            th scope="col" { "Outcome" } th scope="col" { "Item" } th.number scope="col" { "Took" }
                            th.number scope="col" { "Read" } th.number scope="col" { "Added" }
                        } }
                        tbody { @for attempt in attempts {
                            tr {
                                td { (outcome(&attempt.outcome)) }
                                th scope="row" {
                                    a href=(item_link(&attempt.source, attempt.item.as_deref())) {
                                        (printable(&attempt.source)) @if let Some(item) = &attempt.item { "/" (printable(item)) }
                                    }
                                    @if let Some(error) = &attempt.error { pre.error { (printable(error)) } }
                                }
                                td.number { @if let Some(seconds) = attempt.seconds { (duration(seconds)) } }
                                td.number { @if let Some(bytes) = attempt.bytes_read { (size(bytes)) } }
                                td.number { @if let Some(bytes) = attempt.bytes_added { (size(bytes)) } }
                            }
                        } }
                    } }
                }
            }
        }
    };
    page(&format!("{} of {}", run.kind, time(&run.started)), "", &Binding::Served, &body)
}
