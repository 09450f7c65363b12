//! How items are brought back when nothing is left but the repository: with stock restic and the native client, and with this
//! program. What a kind says of it goes into the runbook.

use super::{
    GLOBALS,
    manifest::{Manifest, Object},
    name::ItemName,
};
use crate::output::{printable, shell::word};

/// What stands for an item where none is known.
pub(crate) const EXAMPLE: &str = "NAME";
/// So many of the largest tables are counted.
const COUNTED: usize = 3;

/// The commands that bring an item back.
pub struct Commands {
    /// With stock restic and the database's own client.
    pub stock: Vec<String>,
    /// With this program.
    pub ours: Vec<String>,
}

/// What all items of a source need before.
pub struct Opening {
    /// What has to be known, in words.
    pub text: String,
    /// Commands, to be run once in each shell.
    pub setup: Vec<String>,
}

/// One item as the commands need it.
pub struct Piece<'a> {
    /// The name of its source.
    pub source: &'a str,
    /// Its name within the source.
    pub item: &'a str,
    /// The host in its snapshots.
    pub host: &'a str,
    /// Where its files lie in its snapshots.
    pub path: String,
    /// Whether the name of a server or account stands before its own.
    pub prefixed: bool,
    /// What is known of its newest snapshot.
    pub manifest: Option<&'a Manifest>,
}

impl Piece<'_> {
    /// Which snapshot, as arguments for restic.
    fn latest(&self) -> String {
        format!("latest --host {} --path {}", word(self.host), word(&self.path))
    }

    /// A file of it, streamed.
    pub(crate) fn dump(&self, file: &str) -> String {
        format!("restic dump {} {}", self.latest(), word(&format!("{}/{file}", self.path)))
    }

    /// All of it, as files below `$SCRATCH`.
    pub(crate) fn restore(&self) -> String {
        format!("restic restore {} --target \"${{SCRATCH:?see Preparation}}\"", self.latest())
    }

    /// Where that lies then.
    pub(crate) fn folder(&self, below: &str) -> String {
        format!("\"${{SCRATCH:?see Preparation}}\"{}", word(&format!("{}{below}", self.path)))
    }

    /// The name without the server or account that it was found on.
    pub(crate) fn name(&self) -> &str {
        ItemName::parse(self.item, self.prefixed).name
    }

    /// The server that it was found on, where a source has several.
    fn server(&self) -> Option<&str> {
        ItemName::parse(self.item, self.prefixed).server
    }

    /// Whether it is what belongs to a server as a whole.
    pub(crate) fn is_globals(&self) -> bool {
        is_globals(self.item)
    }

    /// All of its server with one command.
    pub(crate) fn ours_together(&self, rest: &str) -> String {
        let server = self
            .server()
            .map_or_else(|| self.source.to_owned(), |server| format!("{}/{server}", self.source));
        format!("tik-backup restore {} --all {rest}", word(&server))
    }

    /// It alone, with this program.
    pub(crate) fn ours(&self, rest: &str) -> String {
        format!("tik-backup restore {} {rest}", word(&format!("{}/{}", self.source, self.item)))
    }

    /// The command for a part of what it holds.
    pub(crate) fn one_file(&self, destination: &str) -> String {
        format!(
            "$ {}      # one file, one folder, or a pattern such as '**/*.pdf'",
            self.ours(&format!("{destination} --path PATH"))
        )
    }

    /// The tables with the most rows.
    pub(crate) fn largest(&self) -> Vec<&Object> {
        let mut tables: Vec<_> = self
            .manifest
            .map(|manifest| manifest.objects.iter().filter(|object| object.kind == "table").collect())
            .unwrap_or_default();
        tables.sort_by_key(|object: &&Object| std::cmp::Reverse(object.rows));
        tables.truncate(COUNTED);
        tables
    }

    /// Says before the commands on which server it was, where the source has several.
    pub(crate) fn say_server(&self, commands: &mut Commands) {
        if let Some(server) = self.server() {
            let server = printable(server);
            let line = format!("# It was on the server {server}: connect to the one that takes its place.");
            commands.stock.insert(0, line);
        }
    }
}

/// Whether an item is what belongs to a server as a whole.
pub(crate) fn is_globals(item: &str) -> bool {
    item == GLOBALS || item.strip_suffix(GLOBALS).is_some_and(|server| server.ends_with('/'))
}

/// The option `--into` with a URL.
pub(crate) fn into(scheme: &str, name: &str, server: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
    // Those are harmless and easier to read as they are.
    let readable = encoded.replace("%5F", "_").replace("%2D", "-").replace("%2E", ".");
    format!("--into {}", word(&format!("{scheme}://{server}/{readable}")))
}
