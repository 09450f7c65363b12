//! `@globals` of MySQL and MariaDB: statements of grants, what they need to exist, and what is compared.

/// What a grant on something inside a database needs there, so that an empty server takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stub {
    /// A table with at least these columns.
    Table { database: String, table: String, columns: Vec<String> },
    /// A stored procedure.
    Procedure { database: String, name: String },
    /// A stored function.
    Function { database: String, name: String },
}

/// What a statement is about, if it is about something inside a database: `GRANT SELECT (`a`) ON `d`.`t` TO …`.
pub(super) fn stub(statement: &str) -> Option<Stub> {
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

/// The names in quotes among privileges are those of columns.
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

/// Where a word stands outside of names and texts.
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

/// The statements of a script, without those on the account of ours.
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
