//! Commands of the recovery runbook: how items are restored when only the repository is left, with stock restic and the native
//! client, and with this program.

use super::{
    GLOBALS,
    manifest::{Manifest, Object},
    name::ItemName,
};
use crate::output::{printable, shell::word};

/// Placeholder for an item where none is known.
pub(crate) const EXAMPLE: &str = "NAME";
/// Number of the largest tables whose rows are counted.
const COUNTED: usize = 3;

/// The commands that restore an item.
pub struct Commands {
    /// With stock restic and the database's own client.
    pub stock: Vec<String>,
    /// With this program.
    pub ours: Vec<String>,
}

/// Preparation that is common to all items of a source.
pub struct Opening {
    /// Explanation in words.
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
    /// The path of its files in its snapshots.
    pub path: String,
    /// Whether its name has the name of a server or account in front.
    pub prefixed: bool,
    /// The manifest of its newest snapshot, if known.
    pub manifest: Option<&'a Manifest>,
}

impl Piece<'_> {
    /// The restic arguments that select its newest snapshot.
    fn latest(&self) -> String {
        format!("latest --host {} --path {}", word(self.host), word(&self.path))
    }

    /// The command that streams one of its files.
    pub(crate) fn dump(&self, file: &str) -> String {
        format!("restic dump {} {}", self.latest(), word(&format!("{}/{file}", self.path)))
    }

    /// The command that restores all its files below `$SCRATCH`.
    pub(crate) fn restore(&self) -> String {
        format!("restic restore {} --target \"${{SCRATCH:?see Preparation}}\"", self.latest())
    }

    /// The path of its files after that command.
    pub(crate) fn folder(&self, below: &str) -> String {
        format!("\"${{SCRATCH:?see Preparation}}\"{}", word(&format!("{}{below}", self.path)))
    }

    /// The name without server or account.
    pub(crate) fn name(&self) -> &str {
        ItemName::parse(self.item, self.prefixed).name
    }

    /// Its server, if the source has several.
    fn server(&self) -> Option<&str> {
        ItemName::parse(self.item, self.prefixed).server
    }

    /// Whether it is what belongs to a server as a whole.
    pub(crate) fn is_globals(&self) -> bool {
        is_globals(self.item)
    }

    /// The command of this program that restores the whole server.
    pub(crate) fn ours_together(&self, rest: &str) -> String {
        let server = self
            .server()
            .map_or_else(|| self.source.to_owned(), |server| format!("{}/{server}", self.source));
        format!("tik-backup restore {} --all {rest}", word(&server))
    }

    /// The command of this program that restores this item alone.
    pub(crate) fn ours(&self, rest: &str) -> String {
        format!("tik-backup restore {} {rest}", word(&format!("{}/{}", self.source, self.item)))
    }

    /// The command that restores a part of its content.
    pub(crate) fn one_file(&self, destination: &str) -> String {
        format!(
            "$ {}      # one file, one directory, or a pattern such as '**/*.pdf'",
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

    /// Adds a comment with its server before the commands, if the source has several servers.
    pub(crate) fn say_server(&self, commands: &mut Commands) {
        if let Some(server) = self.server() {
            let server = printable(server);
            let line = format!("# It was on the server {server}: connect to its replacement.");
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
    // These characters are harmless and easier to read unescaped.
    let readable = encoded.replace("%5F", "_").replace("%2D", "-").replace("%2E", ".");
    format!("--into {}", word(&format!("{scheme}://{server}/{readable}")))
}
