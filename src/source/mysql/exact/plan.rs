//! The columns of a database with values that a dump tool may not write exactly.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    source::mysql::{
        clients::Flavour,
        discover::Server,
        session::{Session, quote_ident, quote_literal},
    },
};

/// Character sets in which every code survives conversion to UTF-8 and back; for MySQL also `ascii`, in which MariaDB accepts
/// invalid bytes.
const SAFE: [&str; 5] = ["utf8mb4", "utf8mb3", "utf8", "latin1", "binary"];
const ASCII: &str = "ascii";
/// Types of text.
const TEXT: [&str; 6] = ["char", "varchar", "tinytext", "text", "mediumtext", "longtext"];
/// Types whose values dump tools write in hexadecimal.
const BYTES: [&str; 16] = [
    "binary",
    "varbinary",
    "tinyblob",
    "blob",
    "mediumblob",
    "longblob",
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
    "vector",
];
/// Lower bound of half the distance between adjacent `FLOAT` values, relative to the value.
const HALF_STEP: &str = "2.98e-8";
/// Besides the needed rows, one of this many rows is read, to track the position; for tables with long rows more often, so that
/// at most this many bytes lie between two.
const MARK: u64 = 256;
const MARK_BYTES: u64 = 64 * 1024;

/// The content type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A type that dump tools write exactly.
    Plain,
    /// The same, of any length.
    Long,
    /// Bytes, in hexadecimal.
    Bytes,
    /// Bits: also in hexadecimal, but with a different number of leading zeros.
    Bits,
    /// `FLOAT`.
    Float,
    /// `DOUBLE`.
    Double,
    /// Text in this character set.
    Charset(String),
}

impl Kind {
    fn of(data_type: &str, charset: &str, flavour: Flavour) -> Self {
        let safe = SAFE.contains(&charset) || (charset == ASCII && flavour == Flavour::Mysql);
        match data_type {
            "float" => Self::Float,
            "double" => Self::Double,
            "bit" => Self::Bits,
            "json" => Self::Long,
            _ if BYTES.contains(&data_type) => Self::Bytes,
            // Of bytes, which are written as such.
            "enum" | "set" if charset.is_empty() || charset == "binary" => Self::Bytes,
            _ if TEXT.contains(&data_type) && !charset.is_empty() && !safe => {
                Self::Charset(charset.to_owned())
            }
            _ if data_type.ends_with("text") => Self::Long,
            _ => Self::Plain,
        }
    }

    /// May the dump differ from the table?
    pub(super) fn is_inexact(&self) -> bool {
        matches!(self, Self::Float | Self::Charset(_))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Is it in the rows of an `INSERT` that names no columns?
    pub(super) visible: bool,
}

impl Column {
    /// The part of a row's key from this column: the value, or the digest of a long value. `part` in `rows` does the same for a dump.
    fn identity(&self) -> String {
        let name = quote_ident(&self.name);
        match self.kind {
            Kind::Long => format!("CONCAT('=',SHA2(CONVERT({name} USING utf8mb4),256))"),
            Kind::Bytes => format!("CONCAT('=',SHA2(HEX({name}),256))"),
            Kind::Bits => format!("CONCAT('=',HEX({name}))"),
            _ => format!("CONCAT('=',{name})"),
        }
    }
}

/// A table with such columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Names of the columns of the primary key.
    primary: Vec<String>,
    /// Are rows dumped that are no longer there?
    history: bool,
    /// Mean length of its rows in bytes.
    row_length: u64,
}

impl Table {
    /// The query plan for the table, if its rows in the dump have these columns.
    pub(super) fn reading(&self, present: &[Column]) -> Reading {
        let at = |wanted: &dyn Fn(&Column) -> bool| -> Vec<(usize, Column)> {
            let columns = present.iter().enumerate().filter(|(_, column)| wanted(column));
            columns.map(|(at, column)| (at, column.clone())).collect()
        };
        let primary = at(&|column| self.primary.contains(&column.name));
        let whole = primary.len() == self.primary.len() && !primary.is_empty();
        // A historical row has the same key as the current one.
        let usable = whole && !self.history && primary.iter().all(|(_, column)| !column.kind.is_inexact());
        Reading {
            table: self.name.clone(),
            names: present.iter().map(|column| column.name.clone()).collect(),
            history: self.history,
            mark: MARK.min(MARK_BYTES / self.row_length.max(1)).max(1),
            unique: usable,
            // Without an exact key, rows are identified by all their values: equal rows may
            // change places.
            key: if usable { primary } else { at(&|column| !column.kind.is_inexact()) },
            inexact: at(&|column| column.kind.is_inexact()),
            doubles: at(&|column| column.kind == Kind::Double).into_iter().map(|(at, _)| at).collect(),
        }
    }
}

/// The columns to read from a table, each with its position in a row of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) table: String,
    /// The columns of the rows in the dump.
    pub(super) names: Vec<String>,
    history: bool,
    mark: u64,
    /// Does no other row have the same key?
    pub(super) unique: bool,
    /// The key columns.
    pub(super) key: Vec<(usize, Column)>,
    /// The columns that may differ between the dump and the table.
    pub(super) inexact: Vec<(usize, Column)>,
    /// Places of `DOUBLE`.
    pub(super) doubles: Vec<usize>,
}

impl Reading {
    fn place(&self, database: &str) -> String {
        let history = if self.history { " FOR SYSTEM_TIME ALL" } else { "" };
        format!("{}.{}{history}", quote_ident(database), quote_ident(&self.table))
    }

    /// The EXPLAIN statement for the dump tool's query: the index shows the order of the rows.
    pub(super) fn explain(&self, database: &str, flavour: Flavour) -> String {
        let names: Vec<String> = self.names.iter().map(|name| quote_ident(name)).collect();
        // MySQL may be set to another form.
        let form = if flavour == Flavour::Mysql { " FORMAT=TRADITIONAL" } else { "" };
        format!("EXPLAIN{form} SELECT HIGH_PRIORITY {} FROM {}", names.join(","), self.place(database))
    }

    /// The index in the answer to [`Self::explain`].
    pub(super) fn index_of(line: &[Vec<u8>], flavour: Flavour) -> Option<String> {
        let column = if flavour == Flavour::Mysql { 6 } else { 5 };
        let name = String::from_utf8(line.get(column)?.clone()).ok()?;
        (name != "NULL").then_some(name)
    }

    /// The question for the rows of which a value may be written otherwise than it is. Each line: the key; then of each
    /// inexact column how a dump tool writes it, the value, and whether that is needed. `index` is the one that the server
    /// reads for the dump tool, so that the rows come in the same order.
    pub(super) fn query(&self, database: &str, index: Option<&str>) -> String {
        let mut wanted: Vec<String> = self.key.iter().map(|(_, column)| column.identity()).collect();
        let short = |column: &Column| matches!(column.kind, Kind::Plain | Kind::Bits | Kind::Double);
        let mut marks: Vec<String> = self
            .key
            .iter()
            .filter(|(_, column)| self.unique || short(column))
            .map(|(_, column)| quote_ident(&column.name))
            .collect();
        let mut conditions = Vec::new();
        for (_, column) in &self.inexact {
            let name = quote_ident(&column.name);
            wanted.push(column.identity());
            marks.push(format!("CONCAT({name})"));
            let condition = match &column.kind {
                Kind::Charset(charset) => {
                    wanted.push(format!("HEX({name})"));
                    format!(
                        "NOT (CAST(CONVERT(CONVERT({name} USING utf8mb4) USING {charset}) AS BINARY) \
                         <=> CAST({name} AS BINARY))"
                    )
                }
                _ => {
                    wanted.push(format!("{name}*1e0"));
                    format!("IFNULL(ABS({name}*1e0-CONCAT({name}))>ABS({name}*1e0)*{HALF_STEP},0)")
                }
            };
            // The value itself may be long.
            if let (Kind::Charset(_), Some(value)) = (&column.kind, wanted.last_mut()) {
                *value = format!("IF({condition},{value},'')");
            }
            wanted.push(condition.clone());
            conditions.push(condition);
        }
        // Of equal rows either all are marked or none.
        let marks: Vec<String> = marks.iter().map(|value| format!("IFNULL(CRC32({value}),0)")).collect();
        let mark = format!("({})%{}=0", marks.join("+"), self.mark);
        let index = match index {
            Some(index) => format!("FORCE INDEX ({})", quote_ident(index)),
            None => "USE INDEX ()".to_owned(),
        };
        // This allows reading a table that a writer waits for: the writer waits for the tool, and the tool for this session.
        format!(
            "SELECT HIGH_PRIORITY {} FROM {} {index} WHERE {} OR {mark}",
            wanted.join(","),
            self.place(database),
            conditions.join(" OR ")
        )
    }
}

/// The tables of a database that have such columns.
#[derive(Debug, Clone)]
pub(in crate::source::mysql) struct Plan {
    pub(super) tables: Vec<Table>,
    pub(super) flavour: Flavour,
    /// Whether the server writes `DOUBLE` as it is.
    pub(super) doubles: bool,
}

impl Plan {
    /// Queries the columns of a database that a dump tool may not write exactly. For the tables in `history` the tool also
    /// writes historical rows.
    pub(in crate::source::mysql) fn ask(
        session: &Session<'_>,
        server: &Server,
        database: &str,
        history: &[String],
    ) -> Result<Self> {
        let schema = quote_literal(database);
        let mysql = server.flavour == Flavour::Mysql;
        // Of MySQL also DOUBLE: the sign of a zero.
        let types = if mysql || !server.writes_doubles { "'float','double'" } else { "'float'" };
        let safe = SAFE.into_iter().chain(mysql.then_some(ASCII)).map(|charset| format!("'{charset}'"));
        let safe = safe.collect::<Vec<_>>().join(",");
        let rows: Vec<[String; 7]> = session.rows(&format!(
            "SELECT c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, IFNULL(c.CHARACTER_SET_NAME, ''), c.EXTRA, c.COLUMN_KEY, \
             IFNULL(t.AVG_ROW_LENGTH, 0) FROM information_schema.COLUMNS c JOIN information_schema.TABLES t \
             ON t.TABLE_SCHEMA = {schema} AND t.TABLE_NAME = c.TABLE_NAME AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') \
             WHERE c.TABLE_SCHEMA = {schema} AND c.TABLE_NAME IN (\
             SELECT TABLE_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND (DATA_TYPE IN ({types}) OR \
             (CHARACTER_SET_NAME NOT IN ({safe}) AND DATA_TYPE NOT IN ('enum', 'set')))) \
             ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION"
        ))?;
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for [table, name, data_type, charset, extra, key, row_length] in rows {
            let entry = tables.entry(table.clone()).or_insert_with(|| Table {
                history: history.contains(&table),
                name: table,
                columns: Vec::new(),
                primary: Vec::new(),
                row_length: row_length.parse().unwrap_or(0),
            });
            if key == "PRI" {
                entry.primary.push(name.clone());
            }
            let extra = extra.to_ascii_uppercase();
            let generated = ["VIRTUAL GENERATED", "STORED GENERATED"].iter().any(|word| extra.contains(word));
            let kind = match Kind::of(&data_type, &charset, server.flavour) {
                // Recomputed when it is loaded.
                kind if generated && (kind.is_inexact() || kind == Kind::Double) => Kind::Plain,
                kind => kind,
            };
            let invisible = extra.split(' ').any(|word| word == "INVISIBLE");
            // MariaDB's tool writes generated columns, and the server ignores the values.
            entry.columns.push(Column { name, kind, visible: !(invisible || generated && mysql) });
        }
        let tables = tables.into_values().collect();
        Ok(Self { tables, flavour: server.flavour, doubles: server.writes_doubles })
    }

    /// Removes the tables that are not in the dump.
    pub(in crate::source::mysql) fn leave_out(&mut self, is_left_out: impl Fn(&str) -> bool) {
        self.tables.retain(|table| !is_left_out(&table.name));
    }

    /// Does anything have to be read beside the dump?
    pub(super) fn reads(&self) -> bool {
        self.tables.iter().flat_map(|table| &table.columns).any(|column| column.kind.is_inexact())
    }
}
