//! How each item is brought back: with stock restic and the database's own client, and with this program.

use super::{
    Commands, Known, Page, Stored, cell, expected, is_current, is_globals, reach::Reach, size, speed, time,
};
use crate::{
    config::{Config, ServerConfig, SourceConfig, SourceKind},
    output::shell::word,
    repository::item_path,
    source::{
        GLOBALS,
        manifest::{Manifest, Omitted},
    },
};

/// What stands for an item where none is known.
const EXAMPLE: &str = "NAME";

/// One item as the text needs it.
pub(super) struct Piece<'a> {
    source: &'a str,
    pub(super) item: &'a str,
    host: &'a str,
    /// Whether the name of a server or account stands before its own.
    prefixed: bool,
    stored: Option<&'a Stored>,
}

impl Piece<'_> {
    /// Which snapshot, as arguments for restic.
    pub(super) fn latest(&self) -> String {
        format!("latest --host {} --path {}", word(self.host), word(&item_path(self.source, self.item)))
    }

    /// A file of it, streamed.
    pub(super) fn dump(&self, file: &str) -> String {
        let path = format!("{}/{file}", item_path(self.source, self.item));
        format!("restic dump {} {}", self.latest(), word(&path))
    }

    /// All of it, as files below `$SCRATCH`.
    pub(super) fn restore(&self) -> String {
        format!("restic restore {} --target \"${{SCRATCH:?see Preparation}}\"", self.latest())
    }

    /// Where that lies then.
    pub(super) fn folder(&self, below: &str) -> String {
        format!(
            "\"${{SCRATCH:?see Preparation}}\"{}",
            word(&format!("{}{below}", item_path(self.source, self.item)))
        )
    }

    /// The name without the server or account that it was found on.
    pub(super) fn name(&self) -> &str {
        self.item.split_once('/').filter(|_| self.prefixed).map_or(self.item, |(_, name)| name)
    }

    /// The server that it was found on, where a source has several.
    pub(super) fn server(&self) -> Option<&str> {
        self.item.split_once('/').filter(|_| self.prefixed).map(|(server, _)| server)
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.stored?.manifest.as_ref()
    }

    /// All of its server with one command.
    pub(super) fn ours_together(&self, rest: &str) -> String {
        let server = self
            .server()
            .map_or_else(|| self.source.to_owned(), |server| format!("{}/{server}", self.source));
        format!("tik-backup restore {} --all {rest}", word(&server))
    }

    pub(super) fn ours(&self, rest: &str) -> String {
        format!("tik-backup restore {} {rest}", word(&format!("{}/{}", self.source, self.item)))
    }
}

pub(super) fn source(page: &mut Page, config: &Config, source: &SourceConfig, known: &Known) {
    let name = source.name.as_str();
    page.line(&format!("### {}", cell(name)));
    page.line("");
    let prefixed = is_prefixed(source);
    let mut pieces: Vec<_> = known
        .of_source(name)
        .map(|(item, stored)| Piece {
            source: name,
            item,
            host: &stored.snapshot.host,
            prefixed,
            stored: Some(stored),
        })
        .collect();
    if pieces.is_empty() {
        pieces = examples(config, source);
    }
    // Roles and users come first: what belongs to them cannot be made without them.
    pieces.sort_by_key(|piece| (!is_globals(piece.item), piece.item.to_owned()));
    let reach = Reach::new(source);
    reach.opening(page, source);
    for piece in &pieces {
        headline(page, piece, known);
        reach.piece(page, piece);
    }
}

fn server_of(source: &SourceConfig) -> Option<&ServerConfig> {
    match &source.kind {
        SourceKind::Postgres(kind) => Some(&kind.server),
        SourceKind::Mysql(kind) => Some(&kind.server),
        SourceKind::Mongodb(_) | SourceKind::AzureStorage(_) | SourceKind::Directory(_) => None,
    }
}

/// Whether the names of its items begin with that of a server or an account.
fn is_prefixed(source: &SourceConfig) -> bool {
    matches!(source.kind, SourceKind::AzureStorage(_))
        || server_of(source).is_some_and(|server| server.azure.is_some())
}

/// What a source would have, where nothing is known of it.
fn examples<'a>(config: &'a Config, source: &'a SourceConfig) -> Vec<Piece<'a>> {
    let name = source.name.as_str();
    let server = server_of(source);
    let globals = server.is_some_and(|server| server.globals && server.azure.is_none());
    let item = match &source.kind {
        SourceKind::AzureStorage(_) => "ACCOUNT/CONTAINER",
        _ if is_prefixed(source) => "SERVER/NAME",
        _ => EXAMPLE,
    };
    let (host, prefixed) = (&config.repository.host, is_prefixed(source));
    let names = globals.then_some(GLOBALS).into_iter().chain([item]);
    names.map(|item| Piece { source: name, item, host, prefixed, stored: None }).collect()
}

fn headline(page: &mut Page, piece: &Piece<'_>, known: &Known) {
    page.line(&format!("#### {}", cell(&format!("{}/{}", piece.source, piece.item))));
    page.line("");
    let Some(stored) = piece.stored else { return };
    let mut facts = vec![
        format!(
            "{}, newest snapshot `{}` of {}",
            size(stored.snapshot.bytes),
            stored.snapshot.short_id(),
            time(&stored.snapshot.time)
        ),
        match expected(stored, speed(known)) {
            (Some(_), shown) => format!("restoring it takes about {shown}"),
            (None, _) => "never restored by a drill: nobody knows how long it takes".to_owned(),
        },
    ];
    if let Some(manifest) = piece.manifest() {
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
        page.line("**It is no longer backed up**: the source had lost it, or a rule excludes it. This is the last there is.");
        page.line("");
    }
    let Some(manifest) = piece.manifest() else { return };
    let lacks = Omitted::notes(&manifest.omitted);
    for note in lacks.iter().chain(&manifest.notes) {
        page.line(&format!("- {}", cell(note)));
    }
    if !lacks.is_empty() || !manifest.notes.is_empty() {
        page.line("");
    }
}

/// The commands for one item alone.
pub(super) fn commands(config: &Config, source: &SourceConfig, item: &str) -> Commands {
    let host = &config.repository.host;
    let piece =
        Piece { source: source.name.as_str(), item, host, prefixed: is_prefixed(source), stored: None };
    Reach::new(source).commands(&piece)
}

/// What is stored under names that the configuration does not have.
pub(super) fn strangers(page: &mut Page, config: &Config, known: &Known) {
    let strange: Vec<_> =
        known.items.iter().filter(|((source, _), _)| config.source(source).is_none()).collect();
    if strange.is_empty() {
        return;
    }
    page.line("## What no source of the configuration explains");
    page.line("");
    for ((source, item), stored) in strange {
        let host = &stored.snapshot.host;
        let piece = Piece { source, item, host, prefixed: false, stored: Some(stored) };
        headline(page, &piece, known);
        page.code("sh", &[piece.restore()]);
    }
}

/// Whether it is roles and users.
pub(super) fn is_globals_of(piece: &Piece<'_>) -> bool {
    is_globals(piece.item)
}
