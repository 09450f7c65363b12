//! Which columns of a database hold values that a dump tool may not write as they are.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    source::mysql::{
        clients::Flavour,
        discover::Server,
        session::{Session, quote_ident, quote_literal},
    },
};

/// Character sets whose every code survives the way to UTF-8 and back.
const SAFE: &str = "'utf8mb4','utf8mb3','utf8','latin1','ascii','binary'";
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
/// Half of the distance between a number and the next one that `FLOAT` can hold, as a part of the number, is at least this.
const HALF_STEP: &str = "2.98e-8";
/// Besides the rows that may need it every so many rows are read, to see how far the reading has come.
const MARK: u32 = 256;

/// What is in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a dump tool writes as it is.
    Plain,
    /// Bytes, in hexadecimal.
    Bytes,
    /// Bits: in hexadecimal too, but with another number of zeros in front.
    Bits,
    /// `FLOAT`.
    Float,
    /// `DOUBLE`.
    Double,
    /// Text in this character set.
    Charset(String),
}

impl Kind {
    fn of(data_type: &str, charset: &str) -> Self {
        match data_type {
            "float" => Self::Float,
            "double" => Self::Double,
            "bit" => Self::Bits,
            _ if BYTES.contains(&data_type) => Self::Bytes,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
                if !charset.is_empty() && !SAFE.contains(&format!("'{charset}'")) =>
            {
                Self::Charset(charset.to_owned())
            }
            _ => Self::Plain,
        }
    }

    /// May a dump have another value than the table?
    pub(super) fn is_inexact(&self) -> bool {
        matches!(self, Self::Float | Self::Charset(_))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Does `SELECT *` show it?
    pub(super) visible: bool,
}

/// A table with such columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Names of the columns of the primary key, in its order.
    primary: Vec<String>,
    /// Are rows dumped that are no longer there?
    history: bool,
}

impl Table {
    /// What of the table is read if its rows in the dump have these columns.
    pub(super) fn reading(&self, present: &[Column]) -> Reading {
        let columns = || present.iter().enumerate();
        let at = |wanted: &dyn Fn(&Column) -> bool| -> Vec<(usize, Column)> {
            columns().filter(|(_, column)| wanted(column)).map(|(at, column)| (at, column.clone())).collect()
        };
        let primary = at(&|column| self.primary.contains(&column.name));
        let whole = primary.len() == self.primary.len();
        // Without a key that is exact itself rows are told apart by all that they hold: those that hold the same may change
        // places.
        let usable =
            whole && !primary.is_empty() && primary.iter().all(|(_, column)| !column.kind.is_inexact());
        Reading {
            table: self.name.clone(),
            primary: self.primary.clone(),
            history: self.history,
            key: if usable { primary } else { at(&|column| !column.kind.is_inexact()) },
            inexact: at(&|column| column.kind.is_inexact()),
            doubles: at(&|column| column.kind == Kind::Double).into_iter().map(|(at, _)| at).collect(),
        }
    }
}

/// What is read of a table, each with its place in a row of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) table: String,
    /// Names of the columns of the primary key, in its order.
    primary: Vec<String>,
    history: bool,
    /// What tells rows apart.
    pub(super) key: Vec<(usize, Column)>,
    /// What may have another value in the dump than in the table.
    pub(super) inexact: Vec<(usize, Column)>,
    /// Places of `DOUBLE`.
    pub(super) doubles: Vec<usize>,
}

impl Reading {
    /// The question for the rows of which a value may be written otherwise than it is. Each line: the key; then of each
    /// inexact column how a dump tool writes it, the value, and whether that is needed. They come in the order in which the
    /// tool reads: that of the primary key if it is told so.
    pub(super) fn query(&self, database: &str, by_primary: bool) -> String {
        let mut wanted = Vec::new();
        for (_, column) in &self.key {
            let name = quote_ident(&column.name);
            wanted.push(match column.kind {
                Kind::Bytes | Kind::Bits => format!("CONCAT('=',HEX({name}))"),
                _ => format!("CONCAT('=',{name})"),
            });
        }
        let mut conditions = Vec::new();
        for (_, column) in &self.inexact {
            let name = quote_ident(&column.name);
            wanted.push(format!("CONCAT('=',{name})"));
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
            wanted.push(condition.clone());
            conditions.push(condition);
        }
        let primary: Vec<String> = self.primary.iter().map(|name| quote_ident(name)).collect();
        let (index, order) = if by_primary && !primary.is_empty() {
            ("FORCE INDEX (PRIMARY)", format!(" ORDER BY {}", primary.join(",")))
        } else {
            ("USE INDEX ()", String::new())
        };
        format!(
            "SELECT {} FROM {}.{}{} {index} WHERE {} OR RAND()*{MARK}<1{order}",
            wanted.join(","),
            quote_ident(database),
            quote_ident(&self.table),
            if self.history { " FOR SYSTEM_TIME ALL" } else { "" },
            conditions.join(" OR ")
        )
    }
}

/// The tables of a database that have such columns.
#[derive(Debug, Default)]
pub(in crate::source::mysql) struct Plan {
    pub(super) tables: Vec<Table>,
    /// Whether the server tells a negative zero apart, which a dump tool writes as a whole number, and that has no sign.
    pub(super) signed_zero: bool,
    /// Whether the tool is to read in the order of primary keys: where an index holds all of a table a server may read that
    /// instead, in another order than ours.
    pub(super) by_primary: bool,
    /// Whether the server writes `DOUBLE` as it is.
    pub(super) doubles: bool,
}

impl Plan {
    /// Asks a server which columns of a database a dump tool may not write as they are. Of the tables
    /// `history` it writes all rows that there ever were.
    pub(in crate::source::mysql) fn ask(
        session: &Session<'_>,
        server: &Server,
        database: &str,
        history: &[String],
    ) -> Result<Self> {
        let schema = quote_literal(database);
        // Of MySQL also DOUBLE: the sign of a zero.
        let doubles = server.flavour == Flavour::Mysql || !server.writes_doubles;
        let types = if doubles { "'float','double'" } else { "'float'" };
        let rows: Vec<[String; 5]> = session.rows(&format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, IFNULL(CHARACTER_SET_NAME, ''), EXTRA \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME IN (\
             SELECT TABLE_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND (DATA_TYPE IN ({types}) OR \
             (CHARACTER_SET_NAME NOT IN ({SAFE}) AND DATA_TYPE NOT IN ('enum', 'set')))) \
             ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ))?;
        let mut tables: Vec<(String, Vec<Column>)> = Vec::new();
        for [table, name, data_type, charset, extra] in rows {
            let extra = extra.to_ascii_uppercase();
            let generated = ["VIRTUAL GENERATED", "STORED GENERATED"].iter().any(|word| extra.contains(word));
            let column = Column {
                name,
                kind: if generated { Kind::Plain } else { Kind::of(&data_type, &charset) },
                visible: !generated && !extra.split(' ').any(|word| word == "INVISIBLE"),
            };
            match tables.last_mut() {
                Some((last, columns)) if *last == table => columns.push(column),
                _ => tables.push((table, vec![column])),
            }
        }
        let signed_zero = server.flavour == Flavour::Mysql;
        let tables: Vec<Table> = tables
            .into_iter()
            .map(|(name, columns)| Table {
                history: history.contains(&name),
                name,
                columns,
                primary: Vec::new(),
            })
            .collect();
        let mut plan = Self { tables, signed_zero, by_primary: false, doubles: server.writes_doubles };
        if plan.reads() {
            plan.ask_indexes(session, &schema)?;
        }
        Ok(plan)
    }

    fn ask_indexes(&mut self, session: &Session<'_>, schema: &str) -> Result<()> {
        let rows: Vec<[String; 4]> = session.rows(&format!(
            "SELECT TABLE_NAME, INDEX_NAME, IFNULL(COLUMN_NAME, ''), IFNULL(SUB_PART, '') FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = {schema} ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
        ))?;
        let mut indexes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for [table, index, column, part] in rows {
            // Of an index of the beginnings of values a server reads no values.
            let column = if part.is_empty() || index == "PRIMARY" { column } else { String::new() };
            indexes.entry((table, index)).or_default().push(column);
        }
        for table in &mut self.tables {
            let key = |index: &str| (table.name.clone(), index.to_owned());
            table.primary = indexes.get(&key("PRIMARY")).cloned().unwrap_or_default();
            let covers = |index: &Vec<String>| {
                let known =
                    |column: &Column| index.contains(&column.name) || table.primary.contains(&column.name);
                table.columns.iter().filter(|column| column.visible).all(known)
            };
            let others =
                indexes.iter().filter(|((name, index), _)| *name == table.name && index != "PRIMARY");
            self.by_primary |= !table.primary.is_empty() && others.map(|(_, columns)| columns).any(covers);
        }
        Ok(())
    }

    /// Is there something that has to be read beside the dump?
    pub(super) fn reads(&self) -> bool {
        self.tables.iter().flat_map(|table| &table.columns).any(|column| column.kind.is_inexact())
    }
}
