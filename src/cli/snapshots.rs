//! `tik-backup snapshots`

use super::{Context, SUCCESS};
use crate::{
    backup::Selector,
    error::Result,
    output::{Screen, name, size, table, time},
    repository::{Repository, Snapshot},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those of a source or an item
    #[arg(value_name = "SOURCE[/ITEM]")]
    items: Vec<Selector>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let repository = Repository::open(&config.repository)?;
    let (mut snapshots, damaged) = repository.readable_snapshots()?;
    damaged.iter().for_each(|error| context.printer.notice(&format!("warning: {error}")));
    snapshots
        .retain(|s| args.items.is_empty() || args.items.iter().any(|item| item.matches(&s.source, &s.item)));
    snapshots.sort_by(|a, b| (&a.source, &a.item, &a.time).cmp(&(&b.source, &b.item, &b.time)));
    let document = serde_json::json!({"snapshots": snapshots});
    context.printer.result(&document, || text(&Screen::of_stdout(), &snapshots))?;
    Ok(SUCCESS)
}

fn text(screen: &Screen, snapshots: &[Snapshot]) -> String {
    if snapshots.is_empty() {
        return "no snapshots".to_owned();
    }
    let rows: Vec<_> = snapshots
        .iter()
        .map(|s| vec![s.short_id().to_owned(), time(&s.time), name(&s.name()), size(s.bytes), name(&s.host)])
        .collect();
    table(screen, &["ID", "TIME", "ITEM", ">SIZE", "HOST"], &rows)
}
