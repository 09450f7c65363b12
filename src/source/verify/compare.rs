//! Comparing two manifests: the one that was stored, and the one of what was restored. Details of one kind are compared by
//! that kind.

use std::collections::BTreeMap;

use crate::source::manifest::Object;

/// Tables, collections and the like: rows and content.
pub(crate) fn objects(stored: &[Object], restored: &[Object]) -> Vec<String> {
    let by_name = |objects: &'_ [Object]| -> BTreeMap<(String, String, String), Object> {
        objects
            .iter()
            .map(|o| ((o.kind.clone(), o.schema.clone().unwrap_or_default(), o.name.clone()), o.clone()))
            .collect()
    };
    let (stored, mut restored) = (by_name(stored), by_name(restored));
    let mut differences = Vec::new();
    for (name, object) in &stored {
        let what = shown(name);
        match restored.remove(name) {
            None => differences.push(format!("{what} is missing")),
            Some(found) if found.rows != object.rows => differences.push(format!(
                "{what}: {} {} backed up, {} {} restored",
                crate::output::count(object.rows, "row"),
                were(object.rows),
                found.rows,
                were(found.rows)
            )),
            Some(found) if found.digest != object.digest || found.bytes != object.bytes => {
                differences.push(format!(
                    "{what}: the content of its {} differs",
                    crate::output::count(object.rows, "row")
                ));
            }
            Some(_) => {}
        }
    }
    differences
        .extend(restored.keys().map(|name| format!("{} was restored but is not in the backup", shown(name))));
    differences
}

/// `table shop.orders`
pub(crate) fn shown((kind, schema, name): &(String, String, String)) -> String {
    if schema.is_empty() || schema == "-" {
        format!("{} {name}", kind.to_lowercase())
    } else {
        format!("{} {schema}.{name}", kind.to_lowercase())
    }
}

/// Differences between the lines of two scripts, regardless of order.
pub(in crate::source) fn lines(stored: &[String], restored: &[String]) -> Vec<String> {
    let count = |lines: &[String]| {
        let mut counts = BTreeMap::<String, i64>::new();
        lines.iter().for_each(|line| *counts.entry(line.clone()).or_default() += 1);
        counts
    };
    let (before, after) = (count(stored), count(restored));
    let lacks = |one: &BTreeMap<String, i64>, other: &BTreeMap<String, i64>, what: &str| -> Vec<String> {
        let missing = one.iter().filter(|(line, n)| other.get(*line).copied().unwrap_or(0) < **n);
        missing.map(|(line, _)| format!("{what}: {}", without_secret(line))).collect()
    };
    let mut differences = lacks(&before, &after, "missing after the restore");
    differences.extend(lacks(&after, &before, "present after the restore, but not in the backup"));
    differences
}

/// A statement without password hashes.
pub(in crate::source) fn without_secret(line: &str) -> String {
    const WORDS: [&str; 6] =
        ["PASSWORD '", " AS '", " AS 0x", " BY PASSWORD '", " USING '", " IDENTIFIED BY '"];
    let mut text = line.to_owned();
    if text.starts_with("ALTER ROLE ")
        && let Some(set) = text.find(" SET ")
        && let Some(to) = text[set..].find(" TO ")
    {
        text.truncate(set + to + " TO ".len());
        text.push('…');
    }
    for word in WORDS {
        let mut from = 0;
        while let Some(at) = text[from..].find(word).map(|at| from + at + word.len()) {
            let rest = &text[at..];
            let end = if word.ends_with("0x") {
                rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len())
            } else {
                rest.find('\'').unwrap_or(rest.len())
            };
            text.replace_range(at..at + end, "…");
            from = at + '…'.len_utf8();
        }
    }
    text
}

/// `was` or `were`.
pub(in crate::source) fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stream::digest::Digest128;

    fn object(name: &str, rows: u64, content: &[u8]) -> Object {
        let digest = Digest128::of(content);
        Object {
            kind: "table".into(),
            schema: Some("public".into()),
            name: name.into(),
            rows,
            bytes: 9,
            digest,
        }
    }

    #[test]
    fn rows_and_contents_are_compared_one_by_one() {
        let stored = [object("a", 1, b"a"), object("b", 2, b"b"), object("c", 3, b"c"), object("d", 4, b"d")];
        assert!(objects(&stored, &stored).is_empty());
        let restored =
            [object("a", 1, b"a"), object("b", 1, b"b"), object("c", 3, b"x"), object("e", 4, b"d")];
        assert_eq!(
            objects(&stored, &restored),
            [
                "table public.b: 2 rows were backed up, 1 was restored",
                "table public.c: the content of its 3 rows differs",
                "table public.d is missing",
                "table public.e was restored but is not in the backup",
            ]
        );
    }

    #[test]
    fn scripts_are_compared_without_showing_passwords() {
        let line = |text: &str| text.to_owned();
        let stored = [line("CREATE ROLE a;"), line("ALTER ROLE a WITH LOGIN PASSWORD 'SCRAM-SHA-256$x';")];
        let restored = [line("CREATE ROLE a;"), line("CREATE ROLE b;")];
        let found = lines(&stored, &restored);
        assert_eq!(
            found,
            [
                "missing after the restore: ALTER ROLE a WITH LOGIN PASSWORD '…';",
                "present after the restore, but not in the backup: CREATE ROLE b;",
            ]
        );
        assert_eq!(
            without_secret("ALTER ROLE app IN DATABASE x SET \"app.secret\" TO 'hunter2';"),
            "ALTER ROLE app IN DATABASE x SET \"app.secret\" TO …"
        );
        let created = "CREATE USER `u`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441FF REQUIRE NONE";
        assert_eq!(
            without_secret(created),
            "CREATE USER `u`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x… REQUIRE NONE"
        );
    }
}
