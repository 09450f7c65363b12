//! `tik-backup drill`

use super::Context;
use crate::{
    backup::Selector,
    config::Config,
    drill::{self, Mutation, Observer, Report, Request},
    error::{Error, Result},
    outcome::{Outcome, Verdict},
    output::{Printer, duration, lines::Priority, name, printable, size, time},
    repository::At,
    source::{kind_named, layout::Layout, name::globals},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Items or sources to prove; by default those with the oldest proofs, as many as `drill.max_duration` allows
    #[arg(value_name = "SOURCE[/ITEM]")]
    items: Vec<Selector>,
    /// Prove everything, or all of the named sources, without a time limit
    #[arg(long)]
    all: bool,
    /// Which snapshot: latest, an id, or the newest taken at or before a time
    #[arg(long, value_name = "latest|ID|TIME", default_value = "latest")]
    at: String,
    /// Snapshots of this host; the results are not recorded, because they are not about the configured host's backups
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Read only this percentage of the files of containers, shares and directories, other files each time
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    sample: Option<u8>,
    /// Test the drill itself: damage test backups and restored databases in many ways, and check that each damage is found
    #[arg(long, conflicts_with_all = ["all", "at", "sample", "host"])]
    self_test: bool,
}

fn percent(text: &str) -> std::result::Result<u8, String> {
    let number = text.trim_end_matches('%').parse().ok().filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| "must be from 1% to 100%".to_owned())
}

struct Lines(Printer);

impl Observer for Lines {
    fn notice(&self, message: &str) {
        self.0.detail(message);
    }

    fn warning(&self, message: &str) {
        self.0.notice(message);
    }

    fn failure(&self, message: &str) {
        self.0.say(Priority::Error, message);
    }

    fn started(&self, item: &str) {
        self.0.detail(&format!("{}: the drill begins", name(item)));
    }

    fn finished(&self, verdict: &Verdict) {
        self.0.notice(&line(verdict));
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let (config, foreign) = context.config_of(args.host.as_deref())?;
    if args.self_test {
        return self_test(context, &config, args);
    }
    if let Some(selector) = args.items.iter().find(|selector| args.all && selector.item.is_some()) {
        let item = selector.item.as_deref().unwrap_or_default();
        return Err(Error::usage(format!(
            "--all goes with names of sources, {}/{item} is an item",
            selector.source
        ))
        .hint("leave --all out to prove this item"));
    }
    let request = Request {
        selectors: args.items.clone(),
        all: args.all,
        at: At::parse(&args.at)?,
        sample: args.sample,
        foreign,
    };
    let report = drill::run(&config, &request, &Lines(context.printer), &context.cancel)?;
    context.printer.result(&report, || text(&report))?;
    if let Some(error) = &report.error {
        context.printer.error(error);
    }
    Ok(report.exit_code())
}

fn self_test(context: &Context, config: &Config, args: &Args) -> Result<u8> {
    if let Some(item) = args.items.iter().find_map(|selector| selector.item.as_ref()) {
        return Err(Error::usage(format!("--self-test takes names of sources, `{item}` is an item"))
            .hint("it tests the proof itself, on content of its own, for the kind of each source"));
    }
    let sources: Vec<String> = args.items.iter().map(|selector| selector.source.clone()).collect();
    let tell = |mutation: &Mutation| context.printer.notice(&mutation_line(mutation));
    let test = drill::self_test(config, &sources, &tell, &context.cancel)?;
    context.printer.result(&test, || {
        let missed = test.mutations.iter().filter(|mutation| !mutation.detected).count();
        let mut text = match (test.outcome, missed) {
            ("failed", 1..) => {
                format!("THE SELF-TEST FAILED: {missed} of {} had the wrong result", test.mutations.len())
            }
            ("failed", _) => "THE SELF-TEST FAILED: nothing could be tested".to_owned(),
            _ => format!(
                "all {} had the right result: every damage was found, and no attack succeeded",
                test.mutations.len()
            ),
        };
        text.push_str(&format!(", {}", duration(test.seconds)));
        for untested in &test.untested {
            text.push_str(&format!("\nNOT TESTED: {}: {}", untested.kind, untested.reason));
        }
        for note in &test.notes {
            text.push_str(&format!("\nnote: {note}"));
        }
        text
    })?;
    Ok(test.exit_code())
}

fn mutation_line(mutation: &Mutation) -> String {
    let found = if mutation.detected { "ok" } else { "NOT FOUND" };
    format!("{found}: {}: {}: {}", mutation.kind, mutation.mutation, printable(&mutation.by))
}

fn line(verdict: &Verdict) -> String {
    let what = name(&verdict.name());
    let of = format!("the snapshot of {}", time(&verdict.time));
    match verdict.outcome {
        Outcome::Proven => {
            let stale = if verdict.fresh { "" } else { " (NOT FRESH: a newer snapshot should exist)" };
            let restored = verdict
                .restore_seconds
                .map(|seconds| format!(", restored in {}", duration(seconds)))
                .unwrap_or_default();
            let notes: String =
                verdict.notes.iter().map(|note| format!("\n    note: {}", printable(note))).collect();
            format!("{what}: proven: {of}{stale}: {}{restored}{notes}", counted(verdict))
        }
        Outcome::Failed => {
            let mut text = format!("{what}: NOT PROVEN: {of} does not restore as it was");
            let lines = verdict.differences.iter().map(String::as_str).chain(verdict.error.as_deref());
            for line in lines.flat_map(str::lines) {
                text.push_str(&format!("\n    {}", printable(line)));
            }
            text
        }
        Outcome::Unproven => {
            let error = verdict.error.as_deref().unwrap_or_default();
            format!("{what}: CANNOT BE PROVEN: {}", printable(error).replace('\n', "\n  "))
        }
    }
}

fn counted(verdict: &Verdict) -> String {
    let (objects, rows) = (verdict.objects, verdict.rows);
    if !matches!(Layout::of(&verdict.kind), Layout::Dump) {
        return format!("{}, {} read", crate::output::count(objects, "file"), size(verdict.bytes));
    }
    if globals(&verdict.item).is_some() {
        let whose = if objects == 1 { "its" } else { "their" };
        return format!("{} with {whose} privileges", crate::output::count(objects, "account"));
    }
    let (row, table) = kind_named(&verdict.kind).map_or(("row", "table"), |kind| kind.rows_and_tables());
    format!("{} in {}", crate::output::count(rows, row), crate::output::count(objects, table))
}

fn text(report: &Report) -> String {
    let count = |outcome| report.items.iter().filter(|item| item.outcome == outcome).count();
    let (failed, unproven) = (count(Outcome::Failed), count(Outcome::Unproven));
    let mut text = if failed + unproven == 0 {
        let tried = report.items.len();
        format!("{tried} of {} proven to restore", crate::output::count(tried, "item"))
    } else {
        format!("{} proven, {failed} DO NOT RESTORE, {unproven} could not be tried", report.proven())
    };
    text.push_str(&format!(", {}", duration(report.seconds)));
    if !report.left.is_empty() {
        let few: Vec<String> =
            report.left.iter().take(3).map(|left| name(&format!("{}/{}", left.source, left.item))).collect();
        let more = if report.left.len() > 3 { ", …" } else { "" };
        text.push_str(&format!(
            "\nnot tried: {} ({}{more}): {}",
            report.left.len(),
            few.join(", "),
            report.left[0].reason
        ));
    }
    text
}
