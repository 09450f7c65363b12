//! `tik-backup forget`

use super::{Context, SUCCESS, snapshots::marked};
use crate::{
    backup::Selector,
    error::{Error, Result},
    forget::{self, Orphan, Report, Request},
    known,
    output::{Screen, count, name, printable, shell::word, size, table, time},
    repository::host_option,
};

/// Exit code if the list has changed since it was shown.
const CHANGED: u8 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The items or sources to remove, which must no longer be backed up. Without it and --id, snapshots that are no longer needed are listed
    #[arg(value_name = "SOURCE[/ITEM]")]
    items: Vec<Selector>,
    /// Snapshots of this host; the configured host unless given
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only the snapshot with this id or prefix, even if its item is still backed up. May be repeated
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Remove exactly the snapshots that were listed with this code
    #[arg(long, value_name = "CODE")]
    confirm: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let (config, foreign) = context.config_of(args.host.as_deref())?;
    let notice = |message: &str| context.printer.notice(message);
    if args.items.is_empty() && args.id.is_empty() {
        if args.confirm.is_some() {
            return Err(Error::usage("--confirm goes with what was listed: SOURCE[/ITEM] or --id ID"));
        }
        // From the view of the configured host, whichever host is listed.
        let own = context.config()?;
        let host = args.host.as_ref().map(|_| config.repository.host.as_str());
        let orphans = forget::orphans(&own, host, &notice, &context.cancel)?;
        context.printer.result(&serde_json::json!({"orphans": orphans}), || overview(&orphans))?;
        return Ok(SUCCESS);
    }
    let request = Request {
        selectors: args.items.clone(),
        ids: args.id.clone(),
        confirm: args.confirm.clone(),
        foreign,
    };
    let report = forget::run(&config, &request, &notice, &context.cancel)?;
    context.printer.result(&report, || text(&report, &command(context, args, &report.confirm)))?;
    if report.changed {
        context.printer.error(
            &Error::usage("nothing was removed: the list has changed since it was shown with this code")
                .hint("check the list above, and confirm it with its own code"),
        );
        return Ok(CHANGED);
    }
    Ok(SUCCESS)
}

fn overview(orphans: &[Orphan]) -> String {
    if orphans.is_empty() {
        return "every snapshot is of this host and of an item that is still backed up".to_owned();
    }
    let rows: Vec<_> = orphans
        .iter()
        .map(|orphan| {
            vec![
                name(&orphan.host),
                name(&format!("{}/{}", orphan.source, orphan.item)),
                orphan.snapshots.to_string(),
                orphan.newest.as_ref().map_or_else(|| "-".to_owned(), time),
                size(orphan.bytes),
                why(orphan),
            ]
        })
        .collect();
    let screen = Screen::of_stdout();
    let mut text = table(&screen, &["HOST", "ITEM", ">SNAPSHOTS", "!NEWEST", ">~SIZE", "WHY"], &rows);
    if orphans.iter().any(|orphan| orphan.recent) {
        let note = "RECENT items are probably still backed up by another host or another configuration of this host: do not remove them.";
        text.push_str(&format!("{}\n", screen.wrapped(note, 0, 0)));
    }
    let note = "These are not removed automatically. `tik-backup forget SOURCE[/ITEM]`, with --host HOST for those of another host, \
                lists their snapshots and says how to remove them.";
    text.push_str(&format!("{}\n", screen.wrapped(note, 0, 0)));
    text
}

fn why(orphan: &Orphan) -> String {
    let recent = if orphan.recent { "RECENT; " } else { "" };
    format!("{recent}{}", orphan.why.text())
}

fn text(report: &Report, command: &str) -> String {
    let count = count(report.snapshots.len(), "snapshot");
    let host = name(&report.host);
    if report.removed {
        let text = format!("removed {count} of the host {host}; `tik-backup prune` frees their space");
        return Screen::of_stdout().wrapped(&text, 0, 0);
    }
    let snapshots = report.snapshots.iter().map(|listed| (&listed.snapshot, listed.newest));
    let screen = Screen::of_stdout();
    let mut text = marked(&screen, snapshots);
    for note in &report.notes {
        text.push_str(&format!("{}\n", screen.wrapped(&format!("Note: {}", printable(note)), 0, 2)));
    }
    let listed = format!(
        "Listed: {count} of the host {host}. Nothing has been removed. This removes exactly what is listed:"
    );
    // The command is printed on one line, so that it can be copied.
    text.push_str(&format!("{}\n  {command}\n", screen.wrapped(&listed, 0, 0)));
    text
}

/// The command that removes exactly the listed snapshots.
fn command(context: &Context, args: &Args, confirm: &str) -> String {
    let option = |option: &str, value: &str| format!("{option} {}", word(&name(value)));
    let mut words = vec!["tik-backup".to_owned()];
    words.extend(context.config.iter().map(|config| option("--config", &config.to_string_lossy())));
    words.push("forget".to_owned());
    for item in &args.items {
        let full = match &item.item {
            Some(item_name) => format!("{}/{item_name}", item.source),
            None => item.source.clone(),
        };
        words.push(word(&name(&full)));
    }
    words.extend(args.host.iter().map(|host| host_option(&known::unescaped(host))));
    words.extend(args.id.iter().map(|id| option("--id", id)));
    words.push(option("--confirm", confirm));
    words.join(" ")
}
