//! Restoring all databases of a server: first the accounts, then the tables of all databases, then their views, and at last the
//! grants, when the granted objects exist.

use std::{collections::BTreeSet, io::Write};

use super::{Loaded, Target, choose_client, load, require_known_options, target};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Manifest,
        mysql::{
            Account, Detail, GLOBALS_SQL,
            clients::Clients,
            code,
            connect::{ConnectParams, Connection},
            session::{Session, quote_ident, quote_text},
        },
        restore::{Options, Restored},
        target::Accounts,
    },
    stream::{cancel::Cancel, child::into_error, files::Files},
};

/// At most this many problems with accounts are listed.
const LISTED: usize = 20;

/// A database to restore: its manifest, files, and target.
pub struct Part<'a> {
    /// What is in it.
    pub manifest: &'a Manifest,
    /// Its files.
    pub files: &'a dyn Files,
    /// The new or empty database.
    pub target: Target,
}

/// The databases of a server that are restored together.
pub struct Whole<'a> {
    clients: &'a Clients,
    options: &'a Options,
    cancel: &'a Cancel,
    connection: Connection,
    /// Databases that existed, and are empty.
    existed: BTreeSet<String>,
}

impl<'a> Whole<'a> {
    /// Checks the server, without changes.
    ///
    /// # Errors
    /// The server is of another family or older than one of the dumps, or one of the databases is not empty.
    pub fn prepare(
        parts: &[Part<'_>],
        params: &ConnectParams,
        clients: &'a Clients,
        options: &'a Options,
        cancel: &'a Cancel,
    ) -> Result<Self> {
        require_known_options(options)?;
        let server = crate::source::mysql::ask(params, clients, cancel)?;
        // A dump of the other family is reported first, whatever clients are installed.
        for part in parts {
            if let Some(detail) = part.manifest.detail::<Detail>() {
                choose_client(clients, part.manifest, detail, &server)
                    .map_err(|error| error.context(&part.manifest.item))?;
            }
        }
        let connection = params.prepare(clients.choose(server.flavour, server.version)?)?;
        let session = Session::new(&connection, cancel);
        let mut existed = BTreeSet::new();
        let mut full = Vec::new();
        for part in parts {
            match target::require_empty(&session, &part.target.database) {
                Ok(true) => existed.extend([part.target.database.clone()]),
                Ok(false) => {}
                Err(error) => full.push(error.summary()),
            }
        }
        if !full.is_empty() {
            return Err(Error::failed(full.join("; "))
                .hint("nothing was changed; drop those databases first, or restore the others one by one"));
        }
        Ok(Self { clients, options, cancel, connection, existed })
    }

    /// Creates the missing accounts. Their grants come last: see [`Self::grant`].
    pub fn accounts(&self, manifest: &Manifest, files: &dyn Files) -> Result<Grants> {
        let script = String::from_utf8_lossy(&files.read(GLOBALS_SQL)?).into_owned();
        let known = manifest.detail::<Detail>().map(|detail| detail.accounts.as_slice()).unwrap_or_default();
        let session = Session::new(&self.connection, self.cancel);
        let there: Vec<[String; 2]> = session.rows("SELECT User, Host FROM mysql.user")?;
        let exists = |account: &&Account| {
            there.iter().any(|[user, host]| (user, host) == (&account.user, &account.host))
        };
        let existing: Vec<&Account> = known.iter().filter(exists).collect();
        let mut grants = Grants::default();
        if !existing.is_empty() {
            let names: Vec<String> = existing.iter().map(|account| shown(account)).collect();
            grants.accounts.notes.push(format!("existing accounts were not changed: {}", names.join(", ")));
        }
        let names: Vec<String> = existing.into_iter().flat_map(written).collect();
        let lines = script.lines().filter(|line| !line.is_empty() && !line.starts_with("--"));
        let wanted = lines.filter(|line| !is_of_any(line, &names));
        let (create, later): (Vec<&str>, Vec<&str>) = wanted.partition(|line| line.starts_with("CREATE "));
        grants.later = later.into_iter().map(str::to_owned).collect();
        grants.accounts.whole = true;
        self.statements(&create, &mut grants.accounts)?;
        Ok(grants)
    }

    /// Runs the grants of the new accounts.
    pub fn grant(&self, grants: Grants) -> Result<Accounts> {
        let Grants { later, mut accounts } = grants;
        self.statements(&later.iter().map(String::as_str).collect::<Vec<_>>(), &mut accounts)?;
        Ok(accounts)
    }

    /// Runs statements together, or one by one if one of them fails.
    fn statements(&self, lines: &[&str], accounts: &mut Accounts) -> Result<()> {
        if lines.is_empty() || self.feed(&lines.join("\n")).is_ok() {
            return Ok(());
        }
        let mut problems = Vec::new();
        for line in lines {
            self.cancel.check()?;
            if let Err(error) = self.feed(line) {
                problems.push(said(&error));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        accounts.whole = false;
        let more = problems.len().saturating_sub(LISTED);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        let shown = &problems[..problems.len() - more];
        accounts.notes.push(format!(
            "{} of {GLOBALS_SQL} failed: {}{rest}",
            crate::output::count(problems.len(), "statement"),
            shown.join("; ")
        ));
        Ok(())
    }

    fn feed(&self, sql: &str) -> Result<()> {
        let mut input = self
            .connection
            .sql()
            .args(["--batch", "--binary-mode", "--no-auto-rehash", "--default-character-set=utf8mb4"])
            .item(crate::source::GLOBALS)
            .cancel(self.cancel)
            .spawn_input()?;
        let fed = input.write_all(format!("{sql}\n").as_bytes()).map_err(into_error);
        fed.and_then(|()| input.finish().map(drop))
    }

    /// Restores the databases; after a failure it continues with the others.
    pub fn restore(&self, parts: &[Part<'_>], notice: &dyn Fn(&str)) -> Vec<Result<Restored>> {
        let mut loaded: Vec<Result<Loaded<'_>>> = Vec::new();
        let mut again = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            notice(&format!("{}: tables", part.manifest.item));
            loaded.push(match self.load(part, notice) {
                Ok(loaded) => Ok(loaded),
                Err(unloaded) => {
                    if !unloaded.outside.is_empty() {
                        again.push(at);
                    }
                    Err(unloaded.into())
                }
            });
        }
        // Objects of other databases may exist by now.
        for at in again {
            let database = &parts[at].target.database;
            if self.existed.contains(database) {
                continue;
            }
            notice(&format!("{}: tables, once more", parts[at].manifest.item));
            let session = Session::new(&self.connection, self.cancel);
            let dropped = session.query(&format!("DROP DATABASE IF EXISTS {}", quote_ident(database)));
            loaded[at] = dropped.and_then(|_| self.load(&parts[at], notice).map_err(Error::from));
        }
        for loaded in loaded.iter().flatten().filter(|loaded| !loaded.outside().is_empty()) {
            loaded.try_views();
        }
        let finish = |(part, loaded): (&Part<'_>, Result<Loaded<'_>>)| -> Result<Restored> {
            notice(&format!("{}: views, and counting", part.manifest.item));
            let mut done = loaded?.finish()?;
            done.write_statements();
            Ok(done)
        };
        parts.iter().zip(loaded).map(finish).collect()
    }

    fn load<'p>(
        &'p self,
        part: &'p Part<'_>,
        notice: &dyn Fn(&str),
    ) -> std::result::Result<Loaded<'p>, super::Unloaded> {
        load(part.manifest, part.files, &part.target, self.clients, self.options, self.cancel, notice)
    }
}

/// Statements to run after everything else, and the result for the accounts so far.
#[derive(Debug, Default)]
pub struct Grants {
    later: Vec<String>,
    accounts: Accounts,
}

impl Grants {
    /// Nothing is granted, for a reason.
    pub fn left_out(why: &str) -> Self {
        Self { later: Vec::new(), accounts: Accounts { whole: true, notes: vec![why.to_owned()] } }
    }
}

fn shown(account: &Account) -> String {
    if account.role { account.user.clone() } else { format!("{}@{}", account.user, account.host) }
}

/// An account as statements name it.
fn written(account: &Account) -> Vec<String> {
    let Account { user, host, role } = account;
    if *role {
        return vec![quote_ident(user), quote_text(user)];
    }
    vec![
        format!("{}@{}", quote_ident(user), quote_ident(host)),
        format!("{}@{}", quote_text(user), quote_text(host)),
    ]
}

/// Whether a statement creates one of these accounts, grants to it or changes it.
fn is_of_any(line: &str, names: &[String]) -> bool {
    const BEFORE: [&str; 5] =
        [" TO ", " FOR ", "CREATE USER IF NOT EXISTS ", "CREATE ROLE IF NOT EXISTS ", "ALTER USER "];
    names.iter().any(|name| {
        BEFORE.iter().any(|word| {
            let named = format!("{word}{name}");
            line.match_indices(&named).any(|(at, _)| {
                let rest = &line[at + named.len()..];
                rest.is_empty() || rest.starts_with([' ', ';', ','])
            })
        })
    })
}

/// The server's message, without the statement, which may contain a password hash.
fn said(error: &Error) -> String {
    let line = code::client_line(error).unwrap_or("a client that could not be run");
    line.split(" near '").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_accounts_that_exist_are_recognised() {
        let account = |user: &str, host: &str, role| Account { user: user.into(), host: host.into(), role };
        let names: Vec<String> =
            [account("app", "%", false), account("reader", "", true)].iter().flat_map(written).collect();
        for line in [
            "CREATE USER IF NOT EXISTS `app`@`%` IDENTIFIED WITH 'x' AS 0x00;",
            "GRANT SELECT ON `shop`.* TO `app`@`%`;",
            "GRANT SELECT ON `shop`.* TO 'app'@'%' WITH GRANT OPTION;",
            "ALTER USER 'app'@'%' DEFAULT ROLE `r`@`%`;",
            "SET DEFAULT ROLE `r` FOR `app`@`%`;",
            "CREATE ROLE IF NOT EXISTS `reader`;",
            "GRANT SELECT ON `shop`.* TO `reader`;",
        ] {
            assert!(is_of_any(line, &names), "{line}");
        }
        for line in [
            "GRANT SELECT ON `shop`.* TO `app2`@`%`;",
            "GRANT `reader` TO `other`@`%`;",
            "GRANT SELECT ON `shop`.* TO `app`@`%.example`;",
            "GRANT SELECT ON `shop`.* TO `reader`@`%`;",
        ] {
            assert!(!is_of_any(line, &names), "{line}");
        }
    }

    #[test]
    fn nothing_of_a_statement_is_said() {
        let error = code::failure(
            "--------------\nCREATE USER x IDENTIFIED BY PASSWORD '*ABC'\n\
             ERROR 1064 (42000) at line 1: You have an error in your SQL syntax near 'PASSWORD '*ABC''",
        );
        assert_eq!(said(&error), "ERROR 1064 (42000) at line 1: You have an error in your SQL syntax");
    }
}
