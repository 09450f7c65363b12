//! What is done with each part of a dump that is split.

mod handler;

use std::{collections::BTreeSet, io};

use super::{
    super::{
        definition::{Definition, Later, may_refer_to},
        lexer::Statement,
        objects::Create,
        rewrite::announcement,
        tokens::Cursor,
    },
    Created, Lanes,
    settings::{is_for_history, is_of_one_object, sets_autocommit},
};

/// Bytes of triggers, routines and events that are kept until all rows are loaded.
const KEPT: usize = 64 << 20;
/// Small statements for the session of definitions are collected up to this many bytes.
const COLLECTED: usize = 64 * 1024;

/// The table whose rows may follow.
struct Current {
    name: String,
    ordered: bool,
    /// The statements to run after its rows.
    then: Vec<u8>,
}

/// Where the pieces of the present statement go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// The session of definitions.
    Definitions,
    /// The sessions of rows.
    Rows,
}

pub(super) struct Parts<L> {
    lanes: L,
    large: BTreeSet<String>,
    /// Whether the dump is still split.
    split: bool,
    /// Only settings came so far.
    at_head: bool,
    head: Vec<u8>,
    /// Whether statements end with a semicolon.
    plain: bool,
    current: Option<Current>,
    passing: Option<To>,
    /// Settings for a table to come, which the session of definitions has not run.
    unset: Vec<u8>,
    /// Foreign keys to be added after all rows.
    constraints: Vec<u8>,
    /// Triggers, routines and events, with the settings around them.
    later: Vec<u8>,
    /// Whether there is anything but settings in it.
    has_later: bool,
    /// The text before the next statement.
    gap: Vec<u8>,
    /// Small statements for the session of definitions.
    out: Vec<u8>,
    announced: Option<String>,
    delimiter: Vec<u8>,
    failed: Option<io::Error>,
}

impl<L: Lanes> Parts<L> {
    pub(super) fn new(large: &BTreeSet<String>, lanes: L) -> Self {
        Self {
            lanes,
            large: large.iter().map(|name| name.to_lowercase()).collect(),
            split: true,
            at_head: true,
            head: Vec::new(),
            plain: true,
            current: None,
            passing: None,
            unset: Vec::new(),
            constraints: Vec::new(),
            later: Vec::new(),
            has_later: false,
            gap: Vec::new(),
            out: Vec::new(),
            announced: None,
            delimiter: b";".to_vec(),
            failed: None,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn result(&mut self) -> io::Result<()> {
        match &mut self.failed {
            None => Ok(()),
            // The error itself is returned once; later calls return its kind.
            Some(error) => {
                let again = io::Error::from(error.kind());
                Err(std::mem::replace(error, again))
            }
        }
    }

    /// Completes everything.
    pub(super) fn finish(mut self) -> io::Result<L> {
        self.stop_splitting();
        self.put_gap();
        self.pass_on();
        match self.failed {
            None => Ok(self.lanes),
            Some(error) => Err(error),
        }
    }

    fn note(&mut self, done: io::Result<()>) {
        if let (Err(error), None) = (done, &self.failed) {
            self.failed = Some(error);
        }
    }

    fn pass_on(&mut self) {
        if self.failed.is_none() && !self.out.is_empty() {
            let done = self.lanes.define(&self.out);
            self.note(done);
        }
        self.out.clear();
    }

    fn define(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        if self.out.len() > COLLECTED {
            self.pass_on();
        }
    }

    /// Runs a statement in the session of definitions at once.
    fn define_now(&mut self, text: &[u8]) {
        let settings = std::mem::take(&mut self.unset);
        // As a whole: between two portions, the session may get a statement that keeps its connection alive.
        self.define(&[settings.as_slice(), text, b";\n"].concat());
        self.gap.clear();
    }

    fn announce(&mut self, kind: &str, name: &str) {
        let what = format!("{kind} {name}");
        if self.announced.as_ref() != Some(&what) {
            self.define(&announcement(&what, &self.delimiter.clone()));
            self.announced = Some(what);
        }
    }

    fn put_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        self.define(&gap);
    }

    /// Runs a statement as it is in the session of definitions, when everything before it is completed.
    fn put(&mut self, statement: Statement<'_>) {
        self.stop_splitting();
        self.put_gap();
        self.define(statement.text);
        self.define(statement.delimiter);
    }

    /// Keeps a statement until all rows are loaded.
    fn put_later(&mut self, statement: Statement<'_>) {
        self.later.append(&mut self.gap);
        self.later.extend_from_slice(statement.text);
        self.later.extend_from_slice(statement.delimiter);
        if self.later.len() + self.constraints.len() > KEPT {
            self.stop_splitting();
        }
    }

    /// From now on everything goes to the session of definitions as it is.
    fn stop_splitting(&mut self) {
        if !std::mem::take(&mut self.split) {
            return;
        }
        self.end_head();
        self.end_table();
        self.pass_on();
        if self.failed.is_none() {
            let done = self.lanes.join();
            self.note(done);
        }
        let constraints = std::mem::take(&mut self.constraints);
        self.define(&constraints);
        // These settings are also part of what comes later.
        self.unset.clear();
        let later = std::mem::take(&mut self.later);
        self.define(&later);
        self.announced = None;
    }

    fn end_head(&mut self) {
        if std::mem::take(&mut self.at_head) && self.failed.is_none() {
            let done = self.lanes.head(std::mem::take(&mut self.head));
            self.note(done);
        }
    }

    fn end_table(&mut self) {
        if let Some(current) = self.current.take().filter(|_| self.failed.is_none()) {
            let done = self.lanes.complete(current.then);
            self.note(done);
        }
    }

    fn set(&mut self, variable: Option<&str>, value: &str, statement: Statement<'_>) {
        if self.at_head {
            self.define_now(statement.text);
            self.head.extend_from_slice(statement.text);
            self.head.extend_from_slice(b";\n");
        } else if sets_autocommit(statement) {
            self.gap.clear();
        } else if is_for_history(statement) && self.current.as_ref().is_some_and(|current| current.ordered) {
            self.with_rows(statement.text);
        } else if !is_of_one_object(variable, value, statement) {
            self.put(statement);
        } else {
            self.set_for_tables(variable, value, statement);
            self.put_later(statement);
        }
    }

    /// A setting for one object, which may be a table. The session of definitions runs it before the table. It does not run what
    /// concerns only routines, triggers and events, and what is not set back before these are created.
    fn set_for_tables(&mut self, variable: Option<&str>, value: &str, statement: Statement<'_>) {
        if !self.plain || matches!(variable, Some("sql_mode" | "time_zone")) {
            return;
        }
        self.unset.extend_from_slice(statement.text);
        self.unset.extend_from_slice(b";\n");
        if value.to_ascii_lowercase().starts_with("@sav") {
            let settings = std::mem::take(&mut self.unset);
            self.define(&settings);
        }
    }

    fn create(&mut self, create: &Create, statement: Statement<'_>) {
        match create.kind {
            "table" if self.plain => self.table(create, statement),
            "sequence" if self.plain => {
                self.announce(create.kind, &create.name);
                self.define_now(statement.text);
            }
            "view" if create.stand_in && self.plain => self.define_now(statement.text),
            "library" | "masking policy" if self.plain && !self.has_later => {
                self.announce(create.kind, &create.name);
                self.define_now(statement.text);
            }
            "view" => self.put(statement),
            kind => {
                let told = announcement(&format!("{kind} {}", create.name), &self.delimiter);
                self.gap.extend_from_slice(&told);
                self.has_later = true;
                self.put_later(statement);
            }
        }
    }

    fn table(&mut self, create: &Create, statement: Statement<'_>) {
        let Statement { text, backslash, .. } = statement;
        self.end_table();
        if !self.has_later {
            self.later.clear();
        }
        let is_large = |name: &String| self.large.contains(name);
        let Some(definition) = Definition::parse(text, backslash) else {
            // What it refers to may lack the keys that it needs.
            if may_refer_to(text, backslash).iter().any(is_large) {
                self.stop_splitting();
            }
            return self.begin_table(create, text, true, Vec::new());
        };
        let keys = definition.keys_can_follow() && is_large(&create.name.to_lowercase());
        let foreign = definition.has_foreign_keys() && (keys || definition.referenced().iter().any(is_large));
        let ordered = !definition.takes_rows_in_any_order();
        if foreign {
            self.constraints.extend_from_slice(&announcement(&format!("table {}", create.name), b";"));
            let only = Later { keys: false, foreign };
            self.constraints.extend_from_slice(&definition.addition(text, only));
            self.constraints.extend_from_slice(b";\n");
        }
        let then = if keys { definition.addition(text, Later { keys, foreign: false }) } else { Vec::new() };
        let short = definition.without(text, Later { keys, foreign });
        self.begin_table(create, &short, ordered, then);
    }

    fn begin_table(&mut self, create: &Create, text: &[u8], ordered: bool, then: Vec<u8>) {
        self.announce("table", &create.name);
        self.define_now(text);
        if !self.split {
            return;
        }
        self.pass_on();
        if self.failed.is_none() {
            let done = self.lanes.created(Created { name: create.name.clone(), ordered });
            self.note(done);
        }
        self.current = Some(Current { name: create.name.clone(), ordered, then });
    }

    /// `DROP` of a table, or `ALTER` to load its rows without keys.
    fn of_table(&mut self, name: &str, statement: Statement<'_>) {
        let Statement { text, backslash, .. } = statement;
        let mut cursor = Cursor::new(text, backslash);
        if cursor.skip("DROP") {
            self.end_table();
            return self.define_now(text);
        }
        let of_keys = cursor.skip_all(&["ALTER", "TABLE"])
            && cursor.qualified_name().is_some()
            && (cursor.skip("DISABLE") || cursor.skip("ENABLE"))
            && cursor.skip("KEYS");
        match self.current.as_ref().filter(|current| of_keys && current.name == name) {
            // Without an effect on the engine that loads rows in any order.
            Some(Current { ordered: false, .. }) => self.gap.clear(),
            Some(_) => self.with_rows(text),
            None => self.put(statement),
        }
    }

    /// Passes on a statement that the session with the rows of a table must run, in its place.
    fn with_rows(&mut self, text: &[u8]) {
        self.gap.clear();
        let text = [text, b";\n"].concat();
        self.load(&text);
        self.end_rows();
    }

    fn load(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            let done = self.lanes.rows(bytes);
            self.note(done);
        }
    }

    fn end_rows(&mut self) {
        if self.failed.is_none() {
            let done = self.lanes.rows_end();
            self.note(done);
        }
    }
}
