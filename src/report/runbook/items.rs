//! Recovery of each item: with stock restic and the database's own client, and with this program.

use super::{Known, Page, Stored, cell, expected, is_current, size, speed, time};
use crate::{
    config::{Config, SourceConfig},
    repository::item_path,
    source::{
        manifest::Omitted,
        recovery::{Commands, Piece, is_globals},
    },
};

/// An item in the runbook: the data for its commands, and its details.
struct Entry<'a> {
    piece: Piece<'a>,
    stored: Option<&'a Stored>,
}

impl<'a> Entry<'a> {
    fn new(
        source: &'a str,
        item: &'a str,
        host: &'a str,
        prefixed: bool,
        stored: Option<&'a Stored>,
    ) -> Self {
        let manifest = stored.and_then(|stored| stored.manifest.as_ref());
        let path = item_path(source, item);
        Self { piece: Piece { source, item, host, path, prefixed, manifest }, stored }
    }
}

pub(super) fn source(page: &mut Page, config: &Config, source: &SourceConfig, known: &Known) {
    let name = source.name.as_str();
    page.line(&format!("### {}", cell(name)));
    page.line("");
    let prefixed = source.kind.is_prefixed();
    let mut entries: Vec<_> = known
        .of_source(name)
        .map(|(item, stored)| Entry::new(name, item, &stored.snapshot.host, prefixed, Some(stored)))
        .collect();
    if entries.is_empty() {
        let examples = source.kind.example_items().into_iter();
        entries =
            examples.map(|item| Entry::new(name, item, &config.repository.host, prefixed, None)).collect();
    }
    // Roles and users come first: objects owned by them cannot be created without them.
    entries.sort_by_key(|entry| (!is_globals(entry.piece.item), entry.piece.item.to_owned()));
    let variables = variables(name);
    let opening = source.kind.opening(&variables);
    page.line(&opening.text);
    page.line("");
    if !opening.setup.is_empty() {
        page.code("sh", &opening.setup);
    }
    for entry in &entries {
        headline(page, entry, known);
        let commands = source.kind.commands(&entry.piece, &variables);
        page.code("sh", &commands.stock);
        page.line("With this program:");
        page.line("");
        page.code("console", &commands.ours);
    }
}

/// Prefix of the shell variables of a source.
fn variables(source: &str) -> String {
    let name: String = source
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    // A variable does not begin with a digit.
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("S{name}") } else { name }
}

fn headline(page: &mut Page, Entry { piece, stored }: &Entry<'_>, known: &Known) {
    page.line(&format!("#### {}", cell(&format!("{}/{}", piece.source, piece.item))));
    page.line("");
    let Some(stored) = stored else { return };
    let mut facts = vec![
        format!(
            "{}, newest snapshot `{}` of {}",
            size(stored.snapshot.bytes),
            stored.snapshot.short_id(),
            time(&stored.snapshot.time)
        ),
        match expected(stored, speed(known)) {
            (Some(_), shown) => format!("restoring it takes about {shown}"),
            (None, _) => "never restored by a drill: duration unknown".to_owned(),
        },
    ];
    if let Some(manifest) = piece.manifest {
        let tools: Vec<_> =
            manifest.tools.iter().map(|tool| cell(&format!("{} {}", tool.name, tool.version))).collect();
        if !tools.is_empty() {
            facts.push(format!(
                "from server version {} by {}",
                cell(&manifest.server_version),
                tools.join(", ")
            ));
        }
    }
    page.line(&format!("{}.", facts.join("; ")));
    page.line("");
    if stored.snapshot.host != *known.host() {
        page.line(&format!(
            "**It was made by another host**, {}; this one has made none.",
            cell(&stored.snapshot.host)
        ));
        page.line("");
    }
    if !is_current(stored) {
        page.line("**It is no longer backed up**: it vanished from the source, or a rule excludes it. This is its last snapshot.");
        page.line("");
    }
    let Some(manifest) = piece.manifest else { return };
    let lacks = Omitted::notes(&manifest.omitted);
    for note in lacks.iter().chain(&manifest.notes) {
        page.line(&format!("- {}", cell(note)));
    }
    if !lacks.is_empty() || !manifest.notes.is_empty() {
        page.line("");
    }
}

/// The commands to restore a single item.
pub(super) fn commands(config: &Config, source: &SourceConfig, item: &str) -> Commands {
    let name = source.name.as_str();
    let variables = variables(name);
    let Entry { piece, .. } =
        Entry::new(name, item, &config.repository.host, source.kind.is_prefixed(), None);
    let mut commands = source.kind.commands(&piece, &variables);
    commands.stock.splice(0..0, source.kind.opening(&variables).setup);
    commands
}

/// Stored items whose source is not configured.
pub(super) fn unconfigured_items(page: &mut Page, config: &Config, known: &Known) {
    let strange: Vec<_> =
        known.items.iter().filter(|((source, _), _)| config.source(source).is_none()).collect();
    if strange.is_empty() {
        return;
    }
    page.line("## Stored items of sources that are not configured");
    page.line("");
    for ((source, item), stored) in strange {
        let entry = Entry::new(source, item, &stored.snapshot.host, false, Some(stored));
        headline(page, &entry, known);
        page.code("sh", &[entry.piece.restore()]);
    }
}
