//! A streaming reader that summarises a dump.

use std::collections::{BTreeSet, HashMap};

use super::{
    database_of,
    lexer::{Gap, Handler, LONGEST, Lexer, Statement},
    objects::{Action, Create, action, insert_table, normalised},
    phases::references,
};
use crate::stream::digest::{Digest128, RowDigest};

/// A table in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    /// Its name.
    pub name: String,
    /// Its rows: of each, the text between its parentheses.
    pub rows: RowDigest,
    /// Digest of its `CREATE TABLE` without the next `AUTO_INCREMENT`. Zero if the dump has only rows of it.
    pub schema_digest: Digest128,
}

/// Anything else in a dump that has a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSummary {
    /// `view`, `procedure`, `function`, `trigger`, `event`, of MySQL also `library` and `masking policy`, of MariaDB
    /// also `sequence`, `package` and `package body`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The table of a trigger.
    pub table: Option<String>,
    /// Digest of its definition and of the modes and character sets it was made under, without its definer.
    pub digest: Digest128,
    /// Its definer: `user@host` without quotes, `role@` for a role.
    pub definer: Option<String>,
}

/// The content of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptSummary {
    /// The database's name, from a comment at the beginning.
    pub database: Option<String>,
    /// Tables in the dump's order.
    pub tables: Vec<TableSummary>,
    /// Values of `AUTO_INCREMENT` and sequences: name, and the value as text.
    pub auto_increments: Vec<(String, String)>,
    /// Views, routines, triggers, events and so on in the dump's order, each once.
    pub objects: Vec<ObjectSummary>,
    /// Other databases that views and tables refer to.
    pub refers_to: BTreeSet<String>,
    /// Whether it ends with the comment that dump tools write at a successful end.
    pub complete: bool,
    /// Whether it has MariaDB's comment that disables commands of the client.
    pub sandbox: bool,
    /// Comments in which the dump tool reports objects that it could not dump.
    pub complaints: Vec<String>,
    /// Why the digests are incomplete, if they are.
    pub undigested: Option<String>,
}

impl ScriptSummary {
    /// Adds the content of another dump of the same database, which has other tables.
    pub fn add(&mut self, other: Self) {
        self.tables.extend(other.tables);
        self.auto_increments.extend(other.auto_increments);
        let known: BTreeSet<(&str, String)> =
            self.objects.iter().map(|object| (object.kind, object.name.clone())).collect();
        let new =
            other.objects.into_iter().filter(|object| !known.contains(&(object.kind, object.name.clone())));
        let new: Vec<ObjectSummary> = new.collect();
        self.objects.extend(new);
        self.refers_to.extend(other.refers_to);
        self.complete &= other.complete;
        self.complaints.extend(other.complaints);
        self.undigested = self.undigested.take().or(other.undigested);
    }
}

/// Reads a dump in pieces of any size. It never fails: after an unknown construct the dump counts as undigested.
#[derive(Debug)]
pub struct ScriptReader {
    lexer: Lexer,
    sums: Sums,
}

impl Default for ScriptReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptReader {
    /// A reader at the beginning of a dump.
    pub fn new() -> Self {
        Self { lexer: Lexer::new(), sums: Sums::default() }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.lexer.feed(bytes, &mut self.sums);
    }

    /// Ends the dump.
    pub fn finish(mut self) -> ScriptSummary {
        self.lexer.finish(&mut self.sums);
        let Sums { mut summary, tables, stand_ins, .. } = self.sums;
        summary.tables = tables.into_iter().flatten().collect();
        let missing = stand_ins.iter().map(|name| format!("the view {name} has no definition in the dump"));
        summary.complaints.extend(missing);
        summary
    }
}

/// Maximum length of a comment that is parsed, and maximum number of complaints that are kept.
const LONGEST_COMMENT: usize = 4096;
const MOST_COMPLAINTS: usize = 20;
/// Prefixes of comments in which dump tools report omitted objects, some of them with exit code 0.
const COMPLAINTS: [&[u8]; 5] = [
    b"failed on view",
    b"insufficient privileges",
    b"Warning:",
    b"WARNING:",
    b"One or more of the libraries",
];

#[derive(Debug, Default)]
struct Sums {
    summary: ScriptSummary,
    /// Removes a table that turns out to be the stand-in of a view.
    tables: Vec<Option<TableSummary>>,
    places: HashMap<String, usize>,
    /// The table whose rows follow.
    current: Option<usize>,
    /// Views of which only the stand-in has been read so far.
    stand_ins: BTreeSet<String>,
    context: Context,
}

/// The modes and character sets under which the next object is created.
#[derive(Debug, Default)]
struct Context {
    variables: HashMap<String, String>,
    collation: Option<String>,
    collation_used: bool,
}

impl Context {
    fn set(&mut self, name: String, value: String) {
        const KNOWN: [&str; 4] = ["sql_mode", "character_set_client", "collation_connection", "time_zone"];
        if !KNOWN.contains(&name.as_str()) {
        } else if value.starts_with('@') {
            self.variables.remove(&name);
        } else {
            self.variables.insert(name, value);
        }
    }

    /// The database's collation is changed before an object that needs another one, and changed back after it.
    fn set_collation(&mut self, collation: String) {
        self.collation = if std::mem::take(&mut self.collation_used) { None } else { Some(collation) };
    }

    /// The settings that matter for an object of this kind, as text.
    fn of(&mut self, kind: &str) -> String {
        let names: &[&str] = match kind {
            "table" | "sequence" => return String::new(),
            "view" => &["character_set_client", "collation_connection"],
            "event" => &["character_set_client", "collation_connection", "sql_mode", "time_zone"],
            _ => &["character_set_client", "collation_connection", "sql_mode"],
        };
        let mut text = String::new();
        for name in names {
            text.push_str(self.variables.get(*name).map_or("", String::as_str));
            text.push('\n');
        }
        if let Some(collation) = &self.collation {
            self.collation_used = true;
            text.push_str(collation);
        }
        text.push('\0');
        text
    }
}

impl Sums {
    fn not_understood(&mut self, why: impl FnOnce() -> String) {
        self.summary.undigested.get_or_insert_with(why);
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.tables.len();
        let table = TableSummary {
            name: name.to_owned(),
            rows: RowDigest::default(),
            schema_digest: Digest128::ZERO,
        };
        self.tables.push(Some(table));
        self.places.insert(name.to_owned(), place);
        place
    }

    fn create(&mut self, statement: Statement<'_>, create: Create) {
        if create.stand_in {
            self.stand_ins.insert(create.name);
            return;
        }
        if matches!(create.kind, "table" | "view") {
            let references = references(statement.text, statement.backslash);
            self.summary.refers_to.extend(references.into_iter().filter_map(|(database, _)| database));
        }
        let (text, counter) =
            normalised(statement.text, statement.backslash, &create, self.summary.database.as_deref());
        let mut whole = self.context.of(create.kind).into_bytes();
        whole.extend_from_slice(&text);
        let digest = Digest128::of(&whole);
        let Create { kind, name, table, definer, .. } = create;
        if let Some(counter) = counter {
            self.summary.auto_increments.push((name.clone(), counter));
        }
        if kind == "table" {
            let place = self.place(&name);
            if let Some(table) = self.tables.get_mut(place).and_then(Option::as_mut) {
                table.schema_digest = digest;
            }
            return;
        }
        if kind == "view" {
            self.stand_ins.remove(&name);
            if let Some(table) = self.places.remove(&name).and_then(|place| self.tables.get_mut(place)) {
                *table = None;
            }
        }
        self.summary.objects.push(ObjectSummary { kind, name, table, digest, definer });
    }

    fn comment(&mut self, text: &[u8]) {
        if text.len() > LONGEST_COMMENT {
            return;
        }
        if text.starts_with(b"-- Dump completed") {
            self.summary.complete = true;
        } else if let Some(line) = text.strip_prefix(b"-- ") {
            if self.summary.database.is_none() {
                self.summary.database = database_of(text);
            }
            if COMPLAINTS.iter().any(|sign| line.starts_with(sign))
                && self.summary.complaints.len() < MOST_COMPLAINTS
            {
                self.summary.complaints.push(String::from_utf8_lossy(line).trim().to_owned());
            }
        }
    }
}

impl Handler for Sums {
    fn gap(&mut self, gap: Gap, text: &[u8]) {
        match gap {
            Gap::Space => {}
            Gap::Comment => {
                self.summary.complete = false;
                self.comment(text);
            }
            Gap::Sandbox => self.summary.sandbox = true,
            Gap::Command => self.summary.complete = false,
        }
    }

    fn statement(&mut self, statement: Statement<'_>) {
        self.summary.complete = false;
        match action(statement.text, statement.backslash) {
            Action::Create(create) => self.create(statement, create),
            Action::CreateUnknown => {
                self.not_understood(|| format!("unknown definition: {}", beginning(statement.text)));
            }
            Action::SetOne(name, value) => self.context.set(name, value),
            Action::AlterDatabase { rest, .. } => self.context.set_collation(rest),
            Action::SetValue(name, value) => self.summary.auto_increments.push((name, value)),
            Action::Insert(_) => {
                self.not_understood(|| format!("an INSERT without rows: {}", beginning(statement.text)));
            }
            _ => {}
        }
    }

    fn long(&mut self, piece: &[u8], first: bool) {
        self.summary.complete = false;
        if first {
            self.not_understood(|| {
                format!("a statement of more than {} MiB: {}", LONGEST >> 20, beginning(piece))
            });
        }
    }

    fn insert(&mut self, head: &[u8]) {
        self.summary.complete = false;
        self.current = insert_table(head).map(|name| self.place(&name));
        if self.current.is_none() {
            self.not_understood(|| format!("rows of an unknown table: {}", beginning(head)));
        }
    }

    #[inline]
    fn rows(&mut self) -> Option<&mut RowDigest> {
        let table = self.tables.get_mut(self.current?)?.as_mut()?;
        Some(&mut table.rows)
    }

    #[inline]
    fn data(&mut self, _piece: &[u8]) {}

    fn insert_end(&mut self, foreign: bool) {
        let table = self.current.take().and_then(|place| self.tables.get(place)?.as_ref());
        if foreign {
            let name = table.map_or_else(String::new, |table| table.name.clone());
            self.not_understood(|| format!("an INSERT with something else than rows into {name}"));
        }
    }

    fn cut_off(&mut self, text: &[u8]) {
        self.summary.complete = false;
        self.not_understood(|| format!("it ends within a statement: {}", beginning(text)));
    }
}

/// The beginning of a statement, up to anything that could be a secret.
fn beginning(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(240)]);
    let shown: String = text.chars().take_while(|c| !matches!(c, '\'' | '"' | '(' | '\n')).take(60).collect();
    if shown.len() < text.len() { format!("{}…", shown.trim_end()) } else { shown }
}
