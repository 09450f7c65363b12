//! `tik-backup accept`

use super::{Context, SUCCESS};
use crate::{
    backup::Selector,
    error::Result,
    history::{Accepted, Check, History},
    known::{self, Name},
    output::{name, printable},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sources or items whose suspicious changes, or missing unreadable objects, are accepted
    #[arg(value_name = "SOURCE[/ITEM]", required_unless_present = "history")]
    items: Vec<Selector>,
    /// Accept that the history was damaged or lost and was built anew
    #[arg(long)]
    history: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let history = History::open(&config, Check::Quick)?;
    let names = args.items.iter().map(|s| Name { source: &s.source, item: s.item.as_deref() });
    known::require(&config, names, &history.names()?, "`tik-backup status --all` lists all known items")?;
    let wanted = |source: &str, item: &str| args.items.iter().any(|s| s.matches(source, item));
    let now = jiff::Zoned::now();
    let mut accepted = history.accept(&wanted, &now)?;
    if config.sources.is_empty() {
        for Selector { source, item } in &args.items {
            let Some(item) = item else { continue };
            history.retire(source, item, &now)?;
            let changes = vec!["no longer expected".to_owned()];
            accepted.push(Accepted { source: source.clone(), item: item.clone(), changes });
        }
    }
    let damaged = if args.history { history.accept_damage(&now)? } else { None };
    let mut document = serde_json::json!({"accepted": accepted});
    if args.history {
        document["history"] = damaged.as_ref().map(|damage| damage.file.as_str()).into();
    }
    context.printer.result(&document, || match (args.history, &damaged) {
        (false, _) => text(&accepted),
        (true, None) => format!("the history was not damaged\n{}", rest(&accepted)),
        (true, Some(damage)) => {
            format!(
                "accepted: the history was begun anew; {} {}\n{}",
                printable(&damage.file),
                if damage.gone { "was gone" } else { "can be removed" },
                rest(&accepted)
            )
        }
    })?;
    Ok(SUCCESS)
}

/// The accepted changes besides the history.
fn rest(accepted: &[Accepted]) -> String {
    if accepted.is_empty() { String::new() } else { text(accepted) }
}

fn text(accepted: &[Accepted]) -> String {
    if accepted.is_empty() {
        return "there is nothing to accept".to_owned();
    }
    let mut text = String::new();
    for item in accepted {
        for change in &item.changes {
            let full = format!("{}/{}", item.source, item.item);
            text.push_str(&format!("{}: accepted: {}\n", name(&full), printable(change)));
        }
    }
    text.push_str(
        "retention applies again from the next backup on; the newest snapshot with objects that later ones lack is kept\n",
    );
    text
}
