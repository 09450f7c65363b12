//! The privileges of the backup account, read from its grants before a dump begins. A server hides objects that an account may
//! not see, above all triggers and routines: a dump without them would succeed and be incomplete.

use std::collections::BTreeSet;

use super::{
    clients::{Flavour, Version},
    discover::Server,
    session::Session,
};
use crate::error::Result;

/// Privileges that a complete dump of a database needs.
const NEEDED: [&str; 4] = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];
/// The first version of MySQL with the privilege `SHOW_ROUTINE`.
const SHOW_ROUTINE: Version = Version(8, 0, 20);

/// The grants of an account, its active roles included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Privileges {
    grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    revoked: bool,
    privileges: BTreeSet<String>,
    /// A pattern, or `*`.
    database: String,
    /// A name, or `*`.
    table: String,
}

impl Privileges {
    /// Queries the grants of the current account.
    pub(super) fn ask(session: &Session<'_>, flavour: Flavour, version: Version) -> Result<Self> {
        let mut rows = session.query("SHOW GRANTS")?;
        // MySQL has roles since version 8; MariaDB lists the privileges of active roles by itself.
        if flavour == Flavour::Mysql && version.0 >= 8 {
            let [roles] = session.row("SELECT CURRENT_ROLE()")?;
            if roles != "NONE" {
                rows = session.query(&format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}"))?;
            }
        }
        Ok(Self::parse(rows.iter().filter_map(|row| row.first()).map(String::as_str)))
    }

    fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        Self { grants: lines.filter_map(Grant::parse).collect() }
    }

    /// Does the account have this privilege globally?
    pub(super) fn everywhere(&self, privilege: &str) -> bool {
        let global = |grant: &&Grant| grant.database == "*" && grant.table == "*";
        self.grants.iter().filter(global).any(|grant| !grant.revoked && grant.gives(privilege))
    }

    /// Does the account have this privilege on a whole database?
    fn on(&self, database: &str, privilege: &str) -> bool {
        let fits = |grant: &&Grant| grant.table == "*" && grant.gives(privilege) && grant.covers(database);
        let revoked = |grant: &Grant| grant.revoked && grant.database != "*";
        self.grants.iter().filter(fits).any(|grant| !grant.revoked)
            && !self.grants.iter().filter(fits).any(revoked)
    }

    fn on_table(&self, database: &str, table: &str, privilege: &str) -> bool {
        self.on(database, privilege)
            || self.grants.iter().any(|grant| {
                !grant.revoked && grant.covers(database) && grant.table == table && grant.gives(privilege)
            })
    }

    /// The missing privileges for a complete dump of a database, with the statements that grant them.
    pub(super) fn missing(&self, server: &Server, database: &str) -> Option<Missing> {
        let lacking: Vec<_> = NEEDED.into_iter().filter(|privilege| !self.on(database, privilege)).collect();
        let place = super::session::quote_ident(database);
        let mut grants = Vec::new();
        if !lacking.is_empty() {
            grants.push(format!("GRANT {} ON {place}.* TO …", lacking.join(", ")));
        }
        let routines = self.routines(server, database);
        grants.extend(routines.map(str::to_owned));
        let mut names: Vec<String> = lacking.iter().map(|name| (*name).to_owned()).collect();
        names.extend(routines.map(|_| "the sight of routines that others wrote".to_owned()));
        (!grants.is_empty()).then(|| Missing { what: names.join(", "), grants: grants.join("; ") })
    }

    /// The statement that allows reading routines of all definers.
    fn routines(&self, server: &Server, database: &str) -> Option<&'static str> {
        let table = self.on_table("mysql", "proc", "SELECT");
        match server.flavour {
            _ if self.everywhere("SELECT") => None,
            Flavour::Mysql if server.version >= SHOW_ROUTINE => {
                (!self.everywhere("SHOW_ROUTINE")).then_some("GRANT SHOW_ROUTINE ON *.* TO …")
            }
            Flavour::Mariadb if self.on(database, "SHOW CREATE ROUTINE") => None,
            _ => (!table).then_some("GRANT SELECT ON mysql.proc TO …"),
        }
    }
}

/// Privileges that are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Their names.
    pub(super) what: String,
    /// The statements that grant them.
    pub(super) grants: String,
}

impl Grant {
    /// Reads a line of `SHOW GRANTS`. Granted roles, proxies and grants on routines are ignored.
    fn parse(line: &str) -> Option<Self> {
        let (revoked, rest) = match line.strip_prefix("GRANT ") {
            Some(rest) => (false, rest),
            None => (true, line.strip_prefix("REVOKE ")?),
        };
        let (privileges, place) = split_outside(rest, " ON ")?;
        let place = place.strip_prefix("TABLE ").unwrap_or(place);
        let (database, rest) = name(place)?;
        let (table, _) = name(rest.strip_prefix('.')?)?;
        Some(Self { revoked, privileges: list(privileges), database, table })
    }

    fn gives(&self, privilege: &str) -> bool {
        self.privileges.contains(privilege)
            || self.privileges.contains("ALL PRIVILEGES")
            || self.privileges.contains("ALL")
    }

    fn covers(&self, database: &str) -> bool {
        self.database == "*" || self.database == database || like(&self.database, database)
    }
}

/// The privileges of a list, without those that name columns.
fn list(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut depth, mut start) = (0_usize, 0);
    let ends = text.char_indices().chain([(text.len(), ',')]);
    for (at, c) in ends {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let one = text.get(start..at).unwrap_or_default().trim();
                if !one.contains('(') {
                    found.insert(one.to_ascii_uppercase());
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Splits at the first `word` outside of quoted names.
fn split_outside<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '`';
        let rest = text.get(at..)?;
        (!quoted && rest.starts_with(word)).then(|| (&text[..at], &rest[word.len()..]))
    })
}

/// A quoted name or `*` at the start of a text, and the rest.
fn name(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Some(("*".to_owned(), rest));
    }
    let inner = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '`' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '`').is_some() {
            name.push('`');
        } else {
            return Some((name, &inner[at + 1..]));
        }
    }
    None
}

/// Whether a name matches a LIKE pattern (`%`, `_`, `\` before a literal one).
fn like(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    let Some(first) = pattern.next() else { return text.is_empty() };
    match first {
        '%' => {
            let rest = pattern.as_str();
            like(rest, "") && text.is_empty()
                || text.char_indices().map(|(at, _)| &text[at..]).chain([""]).any(|tail| like(rest, tail))
        }
        _ => {
            let literal = if first == '\\' { pattern.next().unwrap_or('\\') } else { first };
            let mut chars = text.chars();
            let wild = first == '_';
            chars.next().is_some_and(|c| wild || c == literal) && like(pattern.as_str(), chars.as_str())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn server(flavour: Flavour, version: Version) -> Server {
        Server { flavour, version, ..Server::default() }
    }

    fn privileges(lines: &[&str]) -> Privileges {
        Privileges::parse(lines.iter().copied())
    }

    #[test]
    fn grants_everywhere_suffice_for_every_database() {
        let mysql = server(Flavour::Mysql, Version(8, 4, 0));
        let all = privileges(&[
            "GRANT SELECT, SHOW DATABASES, EVENT, TRIGGER, SHOW VIEW ON *.* TO `backup`@`%`",
            "GRANT `reader`@`%` TO `backup`@`%`",
            "GRANT PROXY ON ``@`` TO `backup`@`%`",
        ]);
        assert_eq!(all.missing(&mysql, "sh`op"), None);
        assert!(all.everywhere("SHOW DATABASES") && !all.everywhere("SUPER"));
        assert_eq!(privileges(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`%`"]).missing(&mysql, "x"), None);
    }

    #[test]
    fn what_is_missing_is_named_with_the_statement_that_grants_it() {
        let mysql = server(Flavour::Mysql, Version(8, 4, 0));
        let mariadb = server(Flavour::Mariadb, Version(10, 11, 0));
        let one = privileges(&[
            "GRANT USAGE ON *.* TO `b`@`%` IDENTIFIED BY PASSWORD '*AAAA'",
            "GRANT SELECT, SHOW VIEW ON `shop`.* TO `b`@`%`",
        ]);
        let missing = one.missing(&mysql, "shop").unwrap();
        assert_eq!(missing.what, "TRIGGER, EVENT, the sight of routines that others wrote");
        assert_eq!(missing.grants, "GRANT TRIGGER, EVENT ON `shop`.* TO …; GRANT SHOW_ROUTINE ON *.* TO …");
        assert!(one.missing(&mysql, "shop2").unwrap().what.starts_with("SELECT, SHOW VIEW, TRIGGER"));
        assert!(one.missing(&mariadb, "shop").unwrap().grants.ends_with("GRANT SELECT ON mysql.proc TO …"));
        let proc = privileges(&[
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `shop`.* TO `b`@`%`",
            "GRANT SELECT ON `mysql`.`proc` TO `b`@`%`",
        ]);
        assert_eq!(proc.missing(&mariadb, "shop"), None);
    }

    #[test]
    fn tables_columns_and_revokes_are_told_apart() {
        let mysql = server(Flavour::Mysql, Version(8, 4, 0));
        let parts = privileges(&[
            "GRANT SELECT (`a`, `b`), INSERT ON `shop`.`orders` TO `b`@`%`",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `b`@`%`",
        ]);
        assert!(parts.missing(&mysql, "shop").unwrap().what.starts_with("SELECT"));
        let revoked = privileges(&[
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO `b`@`%`",
            "REVOKE SELECT ON `secret`.* FROM `b`@`%`",
        ]);
        assert_eq!(revoked.missing(&mysql, "shop"), None);
        assert_eq!(revoked.missing(&mysql, "secret").unwrap().what, "SELECT");
    }

    #[test]
    fn patterns_of_database_names_are_understood() {
        for (pattern, text, fits) in [
            ("shop\\_%", "shop_a", true),
            ("shop\\_%", "shopxa", false),
            ("sh_p", "shop", true),
            ("%", "", true),
            ("a%c", "abbc", true),
            ("a%c", "abb", false),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }
}
