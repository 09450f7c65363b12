//! `@globals` of MySQL and MariaDB: grants, the objects that they need, and the comparison.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::mysql::session::quote_ident;

/// An object that a grant inside a database needs before a server accepts the grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stub {
    /// A table with at least these columns.
    Table { database: String, table: String, columns: Vec<String> },
    /// A stored procedure.
    Procedure { database: String, name: String },
    /// A stored function.
    Function { database: String, name: String },
}

/// Databases that every server has.
const SYSTEM: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Stand-ins for the objects of the grants in a script.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    databases: BTreeSet<String>,
    /// Columns by database and table.
    tables: BTreeMap<(String, String), BTreeSet<String>>,
    /// Statements that create procedures and functions.
    routines: BTreeSet<String>,
}

impl Stubs {
    /// The objects that this script needs and an empty server lacks.
    pub(super) fn of(script: &str) -> Self {
        let mut stubs = Self::default();
        let place = |database: &str, name: &str| format!("{}.{}", quote_ident(database), quote_ident(name));
        for stub in script.lines().filter_map(stub) {
            let database = match stub {
                Stub::Table { ref database, .. }
                | Stub::Procedure { ref database, .. }
                | Stub::Function { ref database, .. } => database.clone(),
            };
            if SYSTEM.contains(&database.as_str()) {
                continue;
            }
            match stub {
                Stub::Table { table, columns, .. } => {
                    stubs.tables.entry((database.clone(), table)).or_default().extend(columns);
                }
                Stub::Procedure { name, .. } => {
                    stubs
                        .routines
                        .insert(format!("CREATE PROCEDURE {}() BEGIN END", place(&database, &name)));
                }
                Stub::Function { name, .. } => {
                    let place = place(&database, &name);
                    stubs
                        .routines
                        .insert(format!("CREATE FUNCTION {place}() RETURNS INT DETERMINISTIC RETURN 1"));
                }
            }
            stubs.databases.insert(database);
        }
        stubs
    }

    /// The databases that are created for them.
    pub(super) fn databases(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(String::as_str)
    }

    /// The statements that create them all.
    pub(super) fn statements(&self) -> Vec<String> {
        let databases = self.databases().map(|database| format!("CREATE DATABASE {}", quote_ident(database)));
        let tables = self.tables.iter().map(|((database, table), columns)| {
            let mut list: Vec<String> =
                columns.iter().map(|column| format!("{} INT", quote_ident(column))).collect();
            if list.is_empty() {
                list.push("a INT".to_owned());
            }
            format!("CREATE TABLE {}.{} ({})", quote_ident(database), quote_ident(table), list.join(", "))
        });
        databases.chain(tables).chain(self.routines.iter().cloned()).collect()
    }
}

/// The object of a grant, if it is inside a database: `GRANT SELECT (`a`) ON `d`.`t` TO …`.
fn stub(statement: &str) -> Option<Stub> {
    let rest = statement.strip_prefix("GRANT ")?;
    let on = outside_quotes(rest, " ON ")?;
    let (privileges, place) = (&rest[..on], &rest[on + " ON ".len()..]);
    let (kind, place) = ["PROCEDURE ", "FUNCTION ", "TABLE "]
        .iter()
        .find_map(|kind| Some((kind.trim_end(), place.strip_prefix(kind)?)))
        .unwrap_or(("TABLE", place));
    let (database, place) = identifier(place)?;
    let (name, _) = identifier(place.strip_prefix('.')?)?;
    Some(match kind {
        "PROCEDURE" => Stub::Procedure { database, name },
        "FUNCTION" => Stub::Function { database, name },
        _ => Stub::Table { database, table: name, columns: columns(privileges) },
    })
}

/// Quoted names among privileges are columns.
fn columns(privileges: &str) -> Vec<String> {
    let mut columns = Vec::new();
    let mut rest = privileges;
    while let Some(at) = rest.find('`') {
        let Some((name, left)) = identifier(&rest[at..]) else { break };
        if !columns.contains(&name) {
            columns.push(name);
        }
        rest = left;
    }
    columns
}

/// A name in backticks at the beginning of a text, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '`' {
            name.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == '`') {
            chars.next();
            name.push('`');
        } else {
            return Some((name, &text[at + 1..]));
        }
    }
    None
}

/// The position of a word outside of names and texts.
fn outside_quotes(text: &str, word: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '`' || c == '\'' || c == '"' => quote = Some(c),
            None if text[at..].starts_with(word) => return Some(at),
            None => {}
        }
    }
    None
}

/// The statements of a script, without those about the drill's account.
pub(super) fn lines(script: &str, ours: &str) -> Vec<String> {
    script
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("--") && !line.contains(ours))
        .map(with_sorted_columns)
        .collect()
}

/// Servers list the columns of a grant in an order that changes from one to the other.
fn with_sorted_columns(line: &str) -> String {
    let Some(on) = line.strip_prefix("GRANT ").and_then(|rest| outside_quotes(rest, " ON ")) else {
        return line.to_owned();
    };
    let (mut privileges, rest) = line.split_at("GRANT ".len() + on);
    let mut sorted = String::new();
    while let Some(open) = outside_quotes(privileges, "(") {
        let inner = &privileges[open + 1..];
        let Some(close) = outside_quotes(inner, ")") else { break };
        let mut columns: Vec<&str> = inner[..close].split(',').map(str::trim).collect();
        columns.sort_unstable();
        sorted.push_str(&format!("{}({})", &privileges[..open], columns.join(", ")));
        privileges = &inner[close + 1..];
    }
    format!("{sorted}{privileges}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(database: &str, table: &str, columns: &[&str]) -> Option<Stub> {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Some(Stub::Table { database: database.into(), table: table.into(), columns })
    }

    #[test]
    fn everything_that_grants_need_is_made_once() {
        let script = "GRANT SELECT (`b`) ON `d`.`t` TO `u`@`%`;\nGRANT UPDATE (`a`, `b`) ON `d`.`t` TO `v`@`%`;\n\
            GRANT DELETE ON `d`.`whole` TO `u`@`%`;\nGRANT EXECUTE ON PROCEDURE `d`.`p` TO `u`@`%`;\n\
            GRANT EXECUTE ON PROCEDURE `d`.`p` TO `v`@`%`;\nGRANT SELECT ON `mysql`.`user` TO `u`@`%`;\n";
        let stubs = Stubs::of(script);
        assert_eq!(stubs.databases().collect::<Vec<_>>(), ["d"]);
        assert_eq!(
            stubs.statements(),
            [
                "CREATE DATABASE `d`",
                "CREATE TABLE `d`.`t` (`a` INT, `b` INT)",
                "CREATE TABLE `d`.`whole` (a INT)",
                "CREATE PROCEDURE `d`.`p`() BEGIN END",
            ]
        );
    }

    #[test]
    fn the_order_of_columns_does_not_matter() {
        let one = lines("GRANT SELECT (`b`, `a`), UPDATE (`d`, `c`) ON `x`.`t` TO `u`@`%`;", "nobody");
        assert_eq!(one, ["GRANT SELECT (`a`, `b`), UPDATE (`c`, `d`) ON `x`.`t` TO `u`@`%`;"]);
    }

    #[test]
    fn grants_on_what_lies_in_databases_are_recognised() {
        assert_eq!(stub("GRANT SELECT ON `shop`.`orders` TO `a`@`%`;"), table("shop", "orders", &[]));
        assert_eq!(
            stub("GRANT SELECT (`id`, `na``me`), UPDATE (`id`) ON `s`.`t ON x` TO `a`@`%`;"),
            table("s", "t ON x", &["id", "na`me"])
        );
        let (database, name) = ("d".to_owned(), "p".to_owned());
        assert_eq!(
            stub("GRANT EXECUTE ON PROCEDURE `d`.`p` TO `a`@`%`;"),
            Some(Stub::Procedure { database: database.clone(), name: name.clone() })
        );
        assert_eq!(
            stub("GRANT EXECUTE ON FUNCTION `d`.`p` TO 'a'@'%';"),
            Some(Stub::Function { database, name })
        );
        for whole in [
            "GRANT ALL ON *.* TO `a`@`%`;",
            "GRANT ALL ON `d`.* TO `a`@`%`;",
            "GRANT `role`@`%` TO `a`@`%`;",
            "x",
        ] {
            assert_eq!(stub(whole), None, "{whole}");
        }
    }
}
