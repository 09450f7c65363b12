//! Matching the rows of a dump with those that were read beside it.

use std::{
    collections::BTreeMap,
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    feed::{Feed, Found, of_dump},
    plan::{Column, Kind, Plan, Reading, Table},
    reader::Reader,
};
use crate::{
    error::Result,
    source::mysql::{clients::Flavour, connect::Connection, faults, script::Values},
    stream::cancel::Cancel,
};

/// Idle connections may be closed by the network.
const QUIET: Duration = Duration::from_secs(60);
/// So many columns are named in a note.
const NAMED: usize = 10;

/// A table that cannot be read, and why.
pub(in crate::source::mysql) type Unreadable = Arc<Mutex<Option<(String, String)>>>;

/// The exact values for a dump, in place of those that the tool wrote.
pub(in crate::source::mysql) struct Exact {
    plan: Plan,
    database: String,
    connection: Connection,
    item: String,
    limit: Duration,
    cancel: Cancel,
    /// Begun before the tool's transaction, and begun after it.
    before: Option<Feed>,
    after: Option<Feed>,
    /// The table whose rows come, and what its `INSERT` names.
    current: Option<(String, Option<Vec<String>>)>,
    reading: Option<Reading>,
    hasher: RandomState,
    /// Rows of the present table that were discarded to limit memory although they are in the dump.
    lost: u64,
    /// When the sessions were last used.
    asked: Instant,
    /// The table that a session failed on because it cannot be read, and why.
    unreadable: Unreadable,
    /// For each table, the number of rows with a value that may be from another moment, or as the tool wrote it.
    uncertain: BTreeMap<String, u64>,
}

impl Exact {
    /// Begins to read, if needed. The tool must be started afterwards.
    pub(in crate::source::mysql) fn begin(
        plan: Plan,
        connection: &Connection,
        database: &str,
        item: &str,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut exact = Self {
            plan,
            database: database.to_owned(),
            connection: connection.clone(),
            item: item.to_owned(),
            limit,
            cancel: cancel.clone(),
            before: None,
            after: None,
            current: None,
            reading: None,
            hasher: RandomState::new(),
            lost: 0,
            asked: Instant::now(),
            unreadable: Unreadable::default(),
            uncertain: BTreeMap::new(),
        };
        if exact.plan.reads() {
            exact.before = Some(exact.open()?);
        }
        Ok(exact)
    }

    /// The shared slot for the table that a session fails on.
    pub(in crate::source::mysql) fn unreadable(&self) -> Unreadable {
        Arc::clone(&self.unreadable)
    }

    /// Is there anything to read?
    pub(in crate::source::mysql) fn is_needed(&self) -> bool {
        !self.plan.tables.is_empty()
    }

    fn open(&self) -> Result<Feed> {
        Ok(Feed::new(Reader::open(&self.connection, &self.database, &self.item, self.limit, &self.cancel)?))
    }

    /// Notes for the operator: columns whose values may not be exact.
    pub(in crate::source::mysql) fn notes(&self) -> Vec<String> {
        let rows: u64 = self.uncertain.values().sum();
        let changed = self.columns(|table, kind| self.uncertain.contains_key(table) && kind.is_inexact());
        let doubles = self.columns(|_, kind| !self.plan.doubles && *kind == Kind::Double);
        let mut notes = Vec::new();
        if let Some(columns) = changed {
            notes.push(format!(
                "in {} some values may not be exact: they are stored as the dump tool writes them, because the rows \
                 changed during the dump or could not be found again: {columns}",
                crate::output::count(rows, "row")
            ));
        }
        if let Some(columns) = doubles {
            notes.push(format!(
                "this server does not write numbers of type DOUBLE exactly, so the last digit may differ after a \
                 restore: {columns}"
            ));
        }
        notes
    }

    /// The names of the first columns that are wanted, if there are any.
    fn columns(&self, wanted: impl Fn(&str, &Kind) -> bool) -> Option<String> {
        let mut named = Vec::new();
        for table in &self.plan.tables {
            let columns = table.columns.iter().filter(|column| wanted(&table.name, &column.kind));
            named.extend(columns.map(|column| format!("{}.{}", table.name, column.name)));
        }
        let more = named.len().saturating_sub(NAMED);
        named.truncate(NAMED);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!named.is_empty()).then(|| named.join(", ") + &rest)
    }

    fn end_table(&mut self) -> Result<()> {
        let Some(reading) = self.reading.take() else { return Ok(()) };
        self.asked = Instant::now();
        let (Some(before), Some(after)) = (&mut self.before, &mut self.after) else { return Ok(()) };
        // A row in both sessions existed in between as well.
        let mut lost = self.lost;
        while !before.ended || !after.ended {
            before.read_some(&reading, &self.hasher)?;
            after.read_some(&reading, &self.hasher)?;
            lost += before.forget(after) + after.forget(before);
        }
        lost += before.in_both(after);
        self.lost = 0;
        if lost > 0 {
            *self.uncertain.entry(reading.table).or_default() += lost;
        }
        Ok(())
    }

    fn begin_table(&mut self, table: &Table, columns: Option<&[String]>) -> Result<Reading> {
        let of_name = |name: &String| {
            let known = table.columns.iter().find(|column| column.name == *name);
            // The times of the rows of a table with its history stand in no list of columns.
            known.cloned().unwrap_or_else(|| Column { name: name.clone(), kind: Kind::Plain, visible: true })
        };
        let present: Vec<Column> = match columns {
            Some(names) => names.iter().map(of_name).collect(),
            None => table.columns.iter().filter(|column| column.visible).cloned().collect(),
        };
        let reading = table.reading(&present);
        if !reading.inexact.is_empty() {
            let explain = reading.explain(&self.database, self.plan.flavour);
            let Some(before) = &mut self.before else { return Ok(reading) };
            let index = before.reader.first_row(&explain)?;
            let index = index.and_then(|line| Reading::index_of(&line, self.plan.flavour));
            let query = reading.query(&self.database, index.as_deref());
            before.ask(&query)?;
            if let Some(after) = &mut self.after {
                after.ask(&query)?;
            }
            self.lost = 0;
        }
        Ok(reading)
    }
}

impl Values for Exact {
    fn begun(&mut self) -> Result<()> {
        if self.plan.reads() {
            self.after = Some(self.open()?);
        }
        Ok(())
    }

    fn table(&mut self, name: &str, columns: Option<Vec<String>>) -> Result<bool> {
        let last = self.current.as_ref().map_or_else(String::new, |(last, _)| last.clone());
        let same = |(current, named): &(String, Option<Vec<String>>)| current == name && *named == columns;
        if !self.current.as_ref().is_some_and(same) {
            let ended = self.end_table();
            self.noted(&last, ended)?;
            let table = self.plan.tables.iter().find(|table| table.name == name).cloned();
            let begun = table.map(|table| self.begin_table(&table, columns.as_deref())).transpose();
            self.reading = self.noted(name, begun)?;
            self.current = Some((name.to_owned(), columns));
        }
        Ok(self.reading.is_some())
    }

    fn row(&mut self, values: &[&[u8]], instead: &mut Vec<(usize, Vec<u8>)>) -> Result<()> {
        let looked = self.look_at(values, instead);
        match (&looked, &self.reading) {
            (Err(_), Some(reading)) => {
                let table = reading.table.clone();
                self.noted(&table, looked)
            }
            _ => looked,
        }
    }

    fn tick(&mut self) -> Result<()> {
        let feeds = [&self.before, &self.after];
        let ended = feeds.into_iter().flatten().all(|feed| feed.ended);
        let idle = ended || self.reading.as_ref().is_none_or(|reading| reading.inexact.is_empty());
        if idle && self.asked.elapsed() > QUIET {
            for feed in [&mut self.before, &mut self.after].into_iter().flatten() {
                feed.reader.first("DO 0")?;
            }
            self.asked = Instant::now();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let last = self.current.as_ref().map_or_else(String::new, |(last, _)| last.clone());
        let ended = self.end_table();
        self.noted(&last, ended)?;
        (self.before, self.after) = (None, None);
        Ok(())
    }
}

impl Exact {
    /// Keeps which table cannot be read, if that is why.
    fn noted<T>(&self, table: &str, done: Result<T>) -> Result<T> {
        if let Err(error) = &done
            && let Some(reason) = faults::of_the_table(error)
        {
            *self.unreadable.lock() = Some((table.to_owned(), reason));
        }
        done
    }

    fn look_at(&mut self, values: &[&[u8]], instead: &mut Vec<(usize, Vec<u8>)>) -> Result<()> {
        let Some(reading) = &self.reading else { return Ok(()) };
        if !reading.inexact.is_empty() {
            let (Some(before), Some(after)) = (&mut self.before, &mut self.after) else { return Ok(()) };
            let uncertain = self.uncertain.entry(reading.table.clone());
            if values.len() != reading.names.len() {
                // Unexpected columns: no values are replaced.
                *uncertain.or_default() += 1;
                return Ok(());
            }
            let Some((identity, key)) = of_dump(reading, values, &self.hasher) else { return Ok(()) };
            before.read_ahead(reading, &self.hasher)?;
            after.read_ahead(reading, &self.hasher)?;
            let known = (before.holds(identity), after.holds(identity));
            match (before.take(&key), after.take(&key)) {
                (Some(one), Some(other)) => {
                    if !put(reading, values, &other, instead) || one != other {
                        *uncertain.or_default() += 1;
                    }
                }
                // Where the one has a row that the other lacks, the other has to be read a little further.
                (Some(found), None) => {
                    after.allowed += 2;
                    if !put(reading, values, &found, instead) {
                        *uncertain.or_default() += 1;
                    }
                }
                (None, Some(found)) => {
                    before.allowed += 2;
                    if !put(reading, values, &found, instead) {
                        *uncertain.or_default() += 1;
                    }
                }
                // The row has different values before and after.
                (None, None) => {
                    before.allowed += if known.0 { 2 } else { 0 };
                    after.allowed += if known.1 { 2 } else { 0 };
                    if reading.unique && known == (true, true) {
                        *uncertain.or_default() += 1;
                    }
                }
            }
            self.lost += before.forget(after) + after.forget(before);
        }
        if self.plan.flavour == Flavour::Mysql {
            let floats = reading.inexact.iter().filter(|(_, column)| column.kind == Kind::Float);
            for at in floats.map(|(at, _)| *at).chain(reading.doubles.iter().copied()) {
                let value = values.get(at).copied().unwrap_or_default();
                let zero = value.starts_with(b"-0") && value[1..].iter().all(|b| matches!(b, b'0' | b'.'));
                if zero {
                    instead.retain(|(other, _)| *other != at);
                    instead.push((at, [value, b"e0"].concat()));
                }
            }
        }
        instead.sort_by_key(|(at, _)| *at);
        Ok(())
    }
}

/// Replaces the values of a row where needed. Returns whether all exact values were available.
fn put(reading: &Reading, values: &[&[u8]], found: &Found, instead: &mut Vec<(usize, Vec<u8>)>) -> bool {
    let mut whole = true;
    for ((at, column), found) in reading.inexact.iter().zip(found) {
        let Some(found) = found else { continue };
        let Some(written) = values.get(*at) else { continue };
        let text = match &column.kind {
            // Bytes become text of the column's character set without a conversion. Of a very long one the server gives none.
            Kind::Charset(_) if found.iter().all(u8::is_ascii_hexdigit) => {
                Some([b"0x", found.as_slice()].concat())
            }
            Kind::Charset(_) => {
                whole = false;
                None
            }
            _ => float(written, found),
        };
        instead.extend(text.map(|text| (*at, text)));
    }
    whole
}

/// The text for a `FLOAT`, if it differs from the one in the dump.
fn float(written: &[u8], exact: &[u8]) -> Option<Vec<u8>> {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
    let exact = number(exact)? as f32;
    // What is larger than the largest one by a part of its last digit is out of range for a server.
    let largest = f64::from(f32::MAX);
    let same = |text: &[u8]| {
        let fits = |read: &f64| read.abs() <= largest && (*read as f32).to_bits() == exact.to_bits();
        number(text).as_ref().is_some_and(fits)
    };
    if same(written) || exact == 0.0 {
        return None;
    }
    let plain = (1e-5..1e15).contains(&exact.abs());
    let short = if plain { format!("{exact}") } else { format!("{exact:e}") };
    // A server reads a number as DOUBLE first.
    let text = if same(short.as_bytes()) { short } else { format!("{:e}", f64::from(exact)) };
    Some(text.into_bytes())
}
