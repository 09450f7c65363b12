//! The item `@globals`: users, roles and grants, as a script in the order in which it can be loaded.

use std::collections::BTreeSet;

use super::{
    Account, Detail, GLOBALS, GLOBALS_SQL, Mysql,
    clients::{Flavour, Version},
    code,
    discover::Server,
    session::{Session, quote_ident, quote_literal, quote_text},
};
use crate::{
    error::Result,
    source::manifest::{Consistency, Digested, File, Manifest, Tool},
    stream::{cancel::Cancel, sink::Sink},
};

/// Begins the note of a manifest that lacks accounts. Manifests have no field for this, and stored ones have this text.
pub(super) const UNREADABLE: &str = "not readable for this account: ";
/// Accounts that every server creates.
const BUILT_IN: [&str; 6] =
    ["mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC", "azure_superuser"];
/// Password hashes may hold any byte: since this version MySQL writes them in hex if asked to.
const HEX_HASHES: Version = Version(8, 0, 17);
/// The first version of MariaDB that shows how an account is created.
const SHOW_CREATE_USER: Version = Version(10, 2, 0);

/// The first version of MySQL whose accounts may have two passwords at a time.
const SECOND_PASSWORDS: Version = Version(8, 0, 14);
/// The first version of MariaDB that grants to `PUBLIC`.
const GRANTS_TO_PUBLIC: Version = Version(10, 11, 0);

/// Streams the accounts into `sink`.
pub(super) fn dump(source: &Mysql, server: &Server, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
    let client = source.clients.choose(server.flavour, server.version)?;
    let connection = source.params.prepare(client)?;
    let session = Session::new(&connection, cancel);
    let mut manifest = Manifest::begin(&source.name, GLOBALS, "mysql");
    let accounts = match accounts(&session, server) {
        Ok(accounts) => accounts,
        // On many managed servers an account may not read other accounts.
        Err(error) if code::is_denied(&error) => {
            manifest.notes.push(
                "only the account's own grants are included: it may not read the server's users (GRANT SELECT ON \
                 mysql.* TO … lets it)"
                    .to_owned(),
            );
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let mut script = Script::new(server);
    if accounts.is_empty() {
        script.own(&session)?;
    }
    for account in &accounts {
        script.add(&session, server, account)?;
    }
    if server.flavour == Flavour::Mariadb && server.version >= GRANTS_TO_PUBLIC {
        script.public(&session)?;
    }
    if !script.unreadable.is_empty() {
        manifest.notes.push(format!("{UNREADABLE}{}", script.unreadable.join(", ")));
    }
    manifest.notes.extend(second_passwords(&session, server)?);
    let text = script.text();
    let stored = sink.store(GLOBALS_SQL, &mut text.as_bytes())?;
    manifest.ended = jiff::Zoned::now();
    manifest.consistency = Consistency::None;
    manifest.server_version.clone_from(&server.version_text);
    manifest
        .tools
        .push(Tool { name: "tik-backup".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() });
    manifest.files.push(File { path: GLOBALS_SQL.to_owned(), bytes: stored.bytes });
    manifest.digested = Digested::Yes;
    manifest.set_detail(Detail {
        flavour: server.flavour,
        lower_case_table_names: server.lower_case_table_names,
        database: None,
        schema_objects: Vec::new(),
        counters: Vec::new(),
        not_transactional: Vec::new(),
        history: Vec::new(),
        row_times: Vec::new(),
        refers_to: BTreeSet::new(),
        accounts,
    });
    Ok(manifest)
}

fn accounts(session: &Session<'_>, server: &Server) -> Result<Vec<Account>> {
    let role = match server.flavour {
        Flavour::Mariadb => "IF(is_role = 'Y', 1, 0)",
        Flavour::Mysql => "0",
    };
    let rows: Vec<[String; 3]> =
        session.rows(&format!("SELECT User, Host, {role} FROM mysql.user ORDER BY User, Host"))?;
    Ok(rows
        .into_iter()
        .map(|[user, host, role]| Account { user, host, role: role == "1" })
        .filter(|account| !BUILT_IN.contains(&account.user.as_str()))
        .collect())
}

/// Accounts with a second password, which MySQL does not show.
fn second_passwords(session: &Session<'_>, server: &Server) -> Result<Option<String>> {
    if server.flavour != Flavour::Mysql || server.version < SECOND_PASSWORDS {
        return Ok(None);
    }
    let found = session.rows(
        "SELECT CONCAT(User, '@', Host) FROM mysql.user \
         WHERE JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password') ORDER BY User, Host",
    );
    let names: Vec<String> = match found {
        Ok(rows) => rows.into_iter().map(|[name]| name).collect(),
        Err(error) if code::is_denied(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((!names.is_empty()).then(|| {
        format!(
            "second passwords (RETAIN CURRENT PASSWORD) are not included, because the server shows them to no account; \
             accounts that have one: {}",
            names.join(", ")
        )
    }))
}

/// The parts of the script: an account must exist before it is granted to another.
struct Script {
    head: String,
    settings: &'static str,
    create: Vec<String>,
    grant: Vec<String>,
    defaults: Vec<String>,
    unreadable: Vec<String>,
}

impl Script {
    fn new(server: &Server) -> Self {
        let hex = server.flavour == Flavour::Mysql && server.version >= HEX_HASHES;
        Self {
            head: format!("-- Users, roles and grants of {}\n", server.version_text),
            settings: if hex { "SET SESSION print_identified_with_as_hex = ON; " } else { "" },
            create: Vec::new(),
            grant: Vec::new(),
            defaults: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// The current account's own grants, which every account may read.
    fn own(&mut self, session: &Session<'_>) -> Result<()> {
        for row in session.query("SHOW GRANTS")? {
            self.grant.extend(row.into_iter().next().map(|line| format!("{line};")));
        }
        Ok(())
    }

    /// The grants to `PUBLIC`.
    fn public(&mut self, session: &Session<'_>) -> Result<()> {
        match session.query("SHOW GRANTS FOR PUBLIC") {
            Ok(rows) => self.grant.extend(
                rows.into_iter().filter_map(|row| row.into_iter().next()).map(|line| format!("{line};")),
            ),
            // Nothing was ever granted to it.
            Err(error) if code::is(&error, code::number::NO_SUCH_GRANT) => {}
            Err(error) if code::is_denied(&error) => self.unreadable.push("PUBLIC".to_owned()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn add(&mut self, session: &Session<'_>, server: &Server, account: &Account) -> Result<()> {
        let name = written(account);
        let known = server.flavour == Flavour::Mysql || server.version >= SHOW_CREATE_USER;
        let create = match account.role {
            true => Ok(vec![vec![format!("CREATE ROLE {name}")]]),
            false if known => session.query(&format!("{}SHOW CREATE USER {name}", self.settings)),
            false => Ok(Vec::new()),
        };
        let grants = session.query(&format!("SHOW GRANTS FOR {name}"));
        let (create, grants) = match (create, grants) {
            (Ok(create), Ok(grants)) => (create, grants),
            (Err(error), _) | (_, Err(error)) if code::is_denied(&error) => {
                self.unreadable.push(name);
                return Ok(());
            }
            // Dropped since it was listed.
            (Err(error), _) | (_, Err(error)) if code::is(&error, code::number::NO_SUCH_GRANT) => {
                return Ok(());
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        for line in create.into_iter().filter_map(|row| row.into_iter().next()) {
            let line = if_not_exists(&with_quotes_escaped(session, server, account, line)?);
            let (line, default) = split_default_role(&line);
            self.create.push(format!("{line};"));
            self.defaults.extend(default.map(|roles| format!("ALTER USER {name} DEFAULT ROLE {roles};")));
        }
        for line in grants.into_iter().filter_map(|row| row.into_iter().next()) {
            let part =
                if line.starts_with("SET DEFAULT ROLE") { &mut self.defaults } else { &mut self.grant };
            part.push(format!("{};", without_password(&line)));
        }
        Ok(())
    }

    fn text(&self) -> String {
        let parts = [&self.create, &self.grant, &self.defaults];
        let lines = parts.into_iter().flatten().fold(String::new(), |text, line| text + line + "\n");
        format!("{}{lines}", self.head)
    }
}

/// An account as it is written in a statement.
fn written(account: &Account) -> String {
    if account.role {
        quote_ident(&account.user)
    } else {
        format!("{}@{}", quote_text(&account.user), quote_text(&account.host))
    }
}

/// MySQL does not escape quotes in the names of a certificate.
fn with_quotes_escaped(
    session: &Session<'_>,
    server: &Server,
    account: &Account,
    line: String,
) -> Result<String> {
    let demands = [" SUBJECT '", " ISSUER '"].iter().any(|word| line.contains(word));
    if server.flavour != Flavour::Mysql || !demands {
        return Ok(line);
    }
    let [subject, issuer] = session.row(&format!(
        "SELECT x509_subject, x509_issuer FROM mysql.user WHERE User = {} AND Host = {}",
        quote_literal(&account.user),
        quote_literal(&account.host)
    ))?;
    let escaped = |line: String, word: &str, name: &str| {
        line.replacen(&format!("{word} '{name}'"), &format!("{word} {}", quote_text(name)), 1)
    };
    Ok(escaped(escaped(line, "SUBJECT", &subject), "ISSUER", &issuer))
}

/// Existing accounts, such as the administrator, are not changed.
fn if_not_exists(line: &str) -> String {
    for start in ["CREATE USER ", "CREATE ROLE "] {
        if let Some(rest) = line.strip_prefix(start) {
            return format!("{start}IF NOT EXISTS {rest}");
        }
    }
    line.to_owned()
}

/// MariaDB repeats the authentication of the account in a grant. There it would change that of an existing account, such as
/// the administrator who loads the script.
fn without_password(line: &str) -> String {
    let words = [" IDENTIFIED BY PASSWORD ", " IDENTIFIED VIA "];
    let Some(start) = words.iter().filter_map(|word| line.rfind(word)).max() else { return line.to_owned() };
    let (head, tail) = line.split_at(start);
    let mut quoted = false;
    let rest = tail.char_indices().find_map(|(at, c)| {
        quoted ^= c == '\'';
        let rest = &tail[at..];
        (!quoted && [" REQUIRE ", " WITH "].iter().any(|word| rest.starts_with(word))).then_some(rest)
    });
    format!("{head}{}", rest.unwrap_or_default())
}

/// Takes `DEFAULT ROLE …` out of MySQL's `CREATE USER`: the role may not exist yet.
fn split_default_role(line: &str) -> (String, Option<String>) {
    const WORD: &str = " DEFAULT ROLE ";
    // The text after the roles always begins with this clause, which cannot occur within a quoted name.
    let found = line.find(WORD).and_then(|start| {
        let end = line[start..].find(" REQUIRE ")? + start;
        Some((start, end))
    });
    match found {
        Some((start, end)) => {
            (format!("{}{}", &line[..start], &line[end..]), Some(line[start + WORD.len()..end].to_owned()))
        }
        None => (line.to_owned(), None),
    }
}

/// Accounts among `wanted` (`user@host` as dumps write them) that the server does not have. `None`: they cannot be read.
pub(super) fn missing(session: &Session<'_>, wanted: &[String]) -> Result<Option<Vec<String>>> {
    if wanted.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let list: Vec<String> = wanted.iter().map(|account| quote_literal(account)).collect();
    let query = format!(
        "SELECT CONCAT(User, '@', Host) FROM mysql.user WHERE CONCAT(User, '@', Host) IN ({})",
        list.join(", ")
    );
    match session.rows(&query) {
        Ok(rows) => {
            let there: Vec<String> = rows.into_iter().map(|[name]| name).collect();
            Ok(Some(wanted.iter().filter(|account| !there.contains(account)).cloned().collect()))
        }
        Err(error) if code::is_denied(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_roles_come_after_all_accounts_exist() {
        let line =
            "CREATE USER `u`@`%` IDENTIFIED WITH 'x' AS 'y' DEFAULT ROLE `r`@`%` REQUIRE NONE ACCOUNT UNLOCK";
        let (create, roles) = split_default_role(&if_not_exists(line));
        assert_eq!(
            create,
            "CREATE USER IF NOT EXISTS `u`@`%` IDENTIFIED WITH 'x' AS 'y' REQUIRE NONE ACCOUNT UNLOCK"
        );
        assert_eq!(roles.as_deref(), Some("`r`@`%`"));
        assert_eq!(split_default_role("CREATE USER `u`@`%`").1, None);
    }

    #[test]
    fn a_grant_sets_no_password() {
        assert_eq!(
            without_password("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*AB' WITH GRANT OPTION"),
            "GRANT USAGE ON *.* TO `a`@`%` WITH GRANT OPTION"
        );
        assert_eq!(
            without_password(
                "GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED VIA x OR y USING 'a WITH b' REQUIRE SSL"
            ),
            "GRANT USAGE ON *.* TO `a`@`%` REQUIRE SSL"
        );
        assert_eq!(without_password("GRANT SELECT ON `x`.* TO `a`@`%`"), "GRANT SELECT ON `x`.* TO `a`@`%`");
    }

    #[test]
    fn accounts_are_quoted() {
        let account = |user: &str, host: &str, role| Account { user: user.into(), host: host.into(), role };
        assert_eq!(written(&account("o'b", "%", false)), "'o''b'@'%'");
        assert_eq!(written(&account("r`x", "", true)), "`r``x`");
    }
}
