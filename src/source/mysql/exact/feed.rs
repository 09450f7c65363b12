//! The rows of one session beside a dump, by their keys.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use sha2::{Digest as _, Sha256};

use super::{
    plan::{Kind, Reading},
    reader::Reader,
};
use crate::{
    error::Result,
    source::mysql::{script::Value, session::quote_ident},
    stream::digest::Digest128,
};

/// Number of rows that are read ahead of the last one found.
const AHEAD: u64 = 256;
/// Maximum number of unmatched rows, and of bytes of their values, that are kept; they may match later, or be from another moment.
const KEPT: u64 = 50_000;
const KEPT_BYTES: usize = 8 << 20;
/// Maximum number of bytes that are read ahead, if any rows are ahead.
const AHEAD_BYTES: usize = 16 << 20;

/// The values of a row that a tool may not have written exactly.
pub(super) type Found = Vec<Option<Vec<u8>>>;

/// A row's identity, and its identity together with the text of its inexact columns.
pub(super) type Keys = (u64, Digest128);

/// A value's part of a key.
fn part(kind: &Kind, value: Option<&[u8]>, key: &mut Vec<u8>) {
    let Some(value) = value else {
        key.push(0);
        return;
    };
    key.push(1);
    let number = || std::str::from_utf8(value).ok()?.parse::<f64>().ok();
    match kind {
        // Numbers have no uniform text form.
        Kind::Float | Kind::Double if let Some(number) = number() => {
            key.extend_from_slice(&number.to_bits().to_be_bytes());
        }
        // In the digits that the server gives.
        Kind::Long | Kind::Bytes => {
            let digest = Sha256::digest(value);
            key.extend(digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
        }
        Kind::Bits => {
            let zeros = value.iter().take_while(|b| **b == b'0').count();
            key.extend_from_slice(&value[zeros..]);
        }
        _ => {
            key.extend_from_slice(&(value.len() as u64).to_be_bytes());
            key.extend_from_slice(value);
        }
    }
}

/// The keys of a row of the dump.
pub(super) fn of_dump(reading: &Reading, values: &[&[u8]], hasher: &RandomState) -> Option<Keys> {
    let mut key = Vec::new();
    let add = |at: usize, kind: &Kind, key: &mut Vec<u8>| {
        let literal = values.get(at)?;
        match Value::of(literal) {
            Value::Null => part(kind, None, key),
            Value::Hex(digits) => part(kind, Some(digits), key),
            // Nothing is written as a text without a letter.
            Value::Text(text) if matches!(kind, Kind::Bytes | Kind::Bits) => {
                let digits: String = text.iter().map(|b| format!("{b:02X}")).collect();
                part(kind, Some(digits.as_bytes()), key);
            }
            Value::Text(text) => part(kind, Some(&text), key),
        }
        Some(())
    };
    for (at, column) in &reading.key {
        add(*at, &column.kind, &mut key)?;
    }
    let identity = hasher.hash_one(&key);
    for (at, column) in &reading.inexact {
        add(*at, &column.kind, &mut key)?;
    }
    Some((identity, Digest128::of(&key)))
}

/// The keys of a row that was read, and its values.
fn of_line(reading: &Reading, line: &[Vec<u8>], hasher: &RandomState) -> Option<(Keys, Found)> {
    let text = |value: &'_ Vec<u8>| value.strip_prefix(b"=").map(<[u8]>::to_vec);
    let add = |kind: &Kind, value: Option<Vec<u8>>, key: &mut Vec<u8>| match (kind, value) {
        // The server has digested it already.
        (Kind::Long | Kind::Bytes, Some(digest)) => {
            key.push(1);
            key.extend_from_slice(&digest);
        }
        (kind, value) => part(kind, value.as_deref(), key),
    };
    let mut values = line.iter();
    let mut key = Vec::new();
    for (_, column) in &reading.key {
        add(&column.kind, text(values.next()?), &mut key);
    }
    let identity = hasher.hash_one(&key);
    let mut found = Vec::new();
    for (_, column) in &reading.inexact {
        let written = text(values.next()?);
        part(&column.kind, written.as_deref(), &mut key);
        let (value, needed) = (values.next()?, values.next()?);
        found.push((written.is_some() && needed == b"1").then(|| value.clone()));
    }
    Some(((identity, Digest128::of(&key)), found))
}

struct Entry {
    number: u64,
    identity: u64,
    found: Found,
}

/// The needed rows of one session.
pub(super) struct Feed {
    pub(super) reader: Reader,
    /// Rows that were read and not matched yet.
    rows: HashMap<Digest128, VecDeque<Entry>>,
    order: VecDeque<(u64, Digest128)>,
    /// Bytes of their values.
    bytes: usize,
    /// For each identity, the number of these rows whose values differ from the tool's output.
    identities: HashMap<u64, u32>,
    read: u64,
    last_found: u64,
    pub(super) ended: bool,
    /// Number of additional rows to read ahead, because the other session has rows that this one lacks.
    pub(super) allowed: u64,
}

impl Feed {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader,
            rows: HashMap::new(),
            order: VecDeque::new(),
            identities: HashMap::new(),
            read: 0,
            bytes: 0,
            last_found: 0,
            ended: true,
            allowed: 0,
        }
    }

    pub(super) fn ask(&mut self, query: &str) -> Result<()> {
        self.rows.clear();
        self.order.clear();
        self.identities.clear();
        (self.bytes, self.read, self.last_found, self.allowed, self.ended) = (0, 0, 0, 0, false);
        self.reader.ask_rows(query)
    }

    /// Reads until enough rows are ahead of the last one that was found: the rows come in the order of the dump.
    pub(super) fn read_ahead(&mut self, reading: &Reading, hasher: &RandomState) -> Result<()> {
        while !self.ended && self.read < self.last_found + AHEAD + self.allowed {
            let enough = self.bytes > AHEAD_BYTES && self.read > self.last_found && self.allowed == 0;
            if enough {
                break;
            }
            self.read_one(reading, hasher)?;
        }
        Ok(())
    }

    /// Reads a number of rows, if there are any.
    pub(super) fn read_some(&mut self, reading: &Reading, hasher: &RandomState) -> Result<()> {
        for _ in 0..AHEAD {
            if self.ended {
                break;
            }
            self.read_one(reading, hasher)?;
        }
        Ok(())
    }

    fn read_one(&mut self, reading: &Reading, hasher: &RandomState) -> Result<()> {
        let Some(line) = self.reader.line()? else {
            self.ended = true;
            return Ok(());
        };
        let Some(((identity, key), found)) = of_line(reading, &line, hasher) else {
            return Err(crate::error::Error::failed(format!(
                "the server gave an unexpected answer about the table {}",
                quote_ident(&reading.table)
            )));
        };
        self.read += 1;
        if found.iter().any(Option::is_some) {
            *self.identities.entry(identity).or_default() += 1;
        }
        self.order.push_back((self.read, key));
        self.bytes += found.iter().flatten().map(Vec::len).sum::<usize>();
        self.rows.entry(key).or_default().push_back(Entry { number: self.read, identity, found });
        Ok(())
    }

    /// Whether there is a row of this identity that has other values than the tool writes.
    pub(super) fn holds(&self, identity: u64) -> bool {
        self.identities.contains_key(&identity)
    }

    pub(super) fn take(&mut self, key: &Digest128) -> Option<Found> {
        let entry = self.pop(key)?;
        self.last_found = self.last_found.max(entry.number);
        self.allowed = 0;
        Some(entry.found)
    }

    fn pop(&mut self, key: &Digest128) -> Option<Entry> {
        let entries = self.rows.get_mut(key)?;
        let entry = entries.pop_front()?;
        if entries.is_empty() {
            self.rows.remove(key);
        }
        let needed = entry.found.iter().any(Option::is_some);
        if let Some(count) = self.identities.get_mut(&entry.identity).filter(|_| needed) {
            *count -= 1;
            if *count == 0 {
                self.identities.remove(&entry.identity);
            }
        }
        self.bytes = self.bytes.saturating_sub(entry.found.iter().flatten().map(Vec::len).sum());
        Some(entry)
    }

    /// Discards rows that were read long ago and never matched. Returns how many of them the other session has as well, which
    /// must be in the dump.
    pub(super) fn forget(&mut self, other: &Self) -> u64 {
        let mut lost = 0;
        while let Some((number, key)) = self.order.front().copied() {
            let first = self.rows.get(&key).and_then(VecDeque::front);
            let entry = first.filter(|entry| entry.number == number);
            // Rows ahead may still be matched.
            let passed = number <= self.last_found;
            let old = self.read - number > KEPT || (passed && self.bytes > KEPT_BYTES);
            if entry.is_some() && !old {
                break;
            }
            if let Some(entry) = entry {
                lost += u64::from(entry.found.iter().any(Option::is_some) && other.rows.contains_key(&key));
                self.pop(&key);
            }
            self.order.pop_front();
        }
        lost
    }

    /// The number of unmatched rows that both sessions have.
    pub(super) fn in_both(&self, other: &Self) -> u64 {
        let count = |(key, entries): (&Digest128, &VecDeque<Entry>)| -> u64 {
            let others = other.rows.get(key).map_or(0, VecDeque::len);
            // A row whose values equal the tool's output loses nothing.
            let needed = entries.iter().filter(|entry| entry.found.iter().any(Option::is_some)).count();
            needed.min(others) as u64
        };
        self.rows.iter().map(count).sum()
    }
}
