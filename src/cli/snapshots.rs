//! `tik-backup snapshots`

use super::{Context, SUCCESS};
use crate::{
    backup::Selector,
    error::{Kind, Result},
    known::{self, Asked, Name},
    output::{Screen, name, size, table, time},
    repository::{HostShare, Hosts, Repository, Snapshot, shares},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those of a source or an item
    #[arg(value_name = "SOURCE[/ITEM]")]
    items: Vec<Selector>,
    /// Those of this host; the configured host unless given
    #[arg(long, value_name = "HOST", conflicts_with = "all_hosts")]
    host: Option<String>,
    /// Those of all hosts that share the repository
    #[arg(long)]
    all_hosts: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let (config, _) = context.config_of(args.host.as_deref())?;
    let repository = Repository::open(&config.repository)?;
    repository.use_cache(&config.state_dir);
    let (all, damaged) = repository.readable_snapshots(Hosts::All)?;
    damaged.iter().for_each(|error| context.printer.notice(&format!("warning: {error}")));
    let counts = |snapshot: &Snapshot| args.all_hosts || snapshot.host == repository.host();
    let (mut own, others): (Vec<Snapshot>, Vec<Snapshot>) = all.into_iter().partition(counts);
    if !args.all_hosts {
        known::require_host(&config, &own, &others)?;
    }
    for selector in &args.items {
        let is_meant = |s: &&Snapshot| selector.matches(&s.source, &s.item);
        if own.iter().any(|s| is_meant(&s)) {
            continue;
        }
        let meant = Name { source: &selector.source, item: selector.item.as_deref() };
        let error = known::absent(&config, Asked::latest("snapshots"), meant, &own, &others);
        if error.kind() == Kind::Usage {
            return Err(error);
        }
        // A known item without snapshots is an empty list; snapshots of other hosts are mentioned, so that they do not seem lost.
        if others.iter().any(|s| is_meant(&s)) {
            context.printer.notice(&error.to_string());
        }
    }
    let wanted =
        |s: &Snapshot| args.items.is_empty() || args.items.iter().any(|i| i.matches(&s.source, &s.item));
    own.retain(&wanted);
    own.sort_by(|a, b| (&a.source, &a.item, &a.time).cmp(&(&b.source, &b.item, &b.time)));
    let hidden = shares(others.iter().filter(|s| wanted(s)));
    let document = serde_json::json!({"snapshots": own, "other_hosts": hidden});
    context.printer.result(&document, || text(&Screen::of_stdout(), &own, &hidden))?;
    Ok(SUCCESS)
}

fn text(screen: &Screen, snapshots: &[Snapshot], hidden: &[HostShare]) -> String {
    let mut text = if snapshots.is_empty() {
        "no snapshots\n".to_owned()
    } else {
        marked(screen, snapshots.iter().map(|s| (s, false)))
    };
    if !hidden.is_empty() {
        let note = format!(
            "Not shown: snapshots of other hosts: {} (--all-hosts shows them)",
            HostShare::list(hidden)
        );
        text.push_str(&format!("{}\n", screen.wrapped(&note, 0, 2)));
    }
    text
}

/// Snapshots as a table; the newest of their items can be marked.
pub(super) fn marked<'s>(screen: &Screen, snapshots: impl Iterator<Item = (&'s Snapshot, bool)>) -> String {
    let now = jiff::Timestamp::now();
    let rows: Vec<_> = snapshots
        .map(|(s, newest)| {
            let mut made = time(&s.time);
            if s.is_ahead(now) {
                made.push_str(" (in the future)");
            } else if newest {
                made.push_str(" (the newest)");
            }
            vec![s.short_id().to_owned(), made, name(&s.name()), size(s.bytes), name(&s.host)]
        })
        .collect();
    table(screen, &["!ID", "!TIME", "ITEM", ">~SIZE", "~HOST"], &rows)
}
