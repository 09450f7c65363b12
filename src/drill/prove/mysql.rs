//! Proving databases and accounts of a MySQL or MariaDB server.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Instant};

use super::{
    Fault, Meddle, Proof, Proven, Setup,
    accounts::{self, Stub},
    compare, free_name, meddled, require_digested, require_understood,
    sink::Nowhere,
};
use crate::{
    config::{Host, MysqlConfig, SourceKind},
    drill::{
        ScratchDir,
        mysql::{MysqlServer, ServerPrograms},
    },
    error::{Error, Result},
    source::{
        Files, GLOBALS, Item, Source,
        manifest::Manifest,
        mysql::{
            Account, Detail, GLOBALS_SQL, Mysql,
            clients::{Client, Clients, Flavour, Version},
            connect::ConnectParams,
            restore::{self, Target},
            session::{Session, quote_ident, quote_text},
        },
        restore::Options,
    },
    stream::child::into_error,
};

/// Accounts that servers make for themselves and need.
const NEEDED: [&str; 5] = ["mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC"];

/// A scratch server whose only account is ours until the source's are there.
pub(in crate::drill) struct Scratch {
    // The server must be gone before its folder: fields are dropped in this order.
    server: MysqlServer,
    client: Client,
    clients: Clients,
    params: ConnectParams,
    ours: String,
    _dir: ScratchDir,
}

fn detail(manifest: &Manifest) -> Result<&Detail> {
    manifest.mysql.as_ref().ok_or_else(|| Error::failed("the manifest says nothing of a MySQL server"))
}

/// Family and version of the server that a snapshot needs.
pub(in crate::drill) fn version(manifest: &Manifest) -> Result<(Flavour, Version)> {
    let text = manifest.server_version.split_whitespace().nth(1).unwrap_or_default();
    let version = Version::find(text).or_else(|| Version::find(&manifest.server_version));
    let unknown = || Error::failed("the manifest does not say of which version the server was");
    Ok((detail(manifest)?.flavour, version.ok_or_else(unknown)?))
}

/// The client for a server: from the configured folders, or from where it usually is.
fn clients(dirs: &[PathBuf], flavour: Flavour, version: Version) -> Result<(Clients, Client)> {
    let named = Clients::find(dirs);
    if let Ok(client) = named.choose(flavour, version) {
        let client = client.clone();
        return Ok((named, client));
    }
    let usual = Clients::find(&[]);
    let client = usual.choose(flavour, version)?.clone();
    Ok((usual, client))
}

impl Scratch {
    /// Starts an empty server like the one of the manifest.
    pub(in crate::drill) fn start(
        setup: &Setup<'_>,
        manifest: &Manifest,
        globals: Option<&Manifest>,
    ) -> Result<Self, Fault> {
        let (flavour, version) = version(manifest)?;
        let programs = ServerPrograms::of_line(flavour, version, &setup.dirs()).map_err(Fault::Cannot)?;
        let (clients, client) = clients(&setup.dirs(), flavour, version).map_err(Fault::Cannot)?;
        let dir = ScratchDir::new(setup.drill.dir.as_deref()).map_err(Fault::Cannot)?;
        let case = detail(manifest)?.lower_case_table_names;
        let server = MysqlServer::start_with(&programs, Some(case), dir.path(), setup.cancel)
            .map_err(|error| Fault::Cannot(error.context("a scratch server cannot be started")))?;
        let known = globals.and_then(|globals| globals.mysql.as_ref());
        let known = known.map(|detail| detail.accounts.as_slice()).unwrap_or_default();
        let ours = free_name(known.iter().map(|account| account.user.as_str()));
        let params = ConnectParams { user: Some(ours.clone()), ..server.params() };
        let scratch = Self { server, client, clients, params, ours, _dir: dir };
        scratch
            .take_over(setup)
            .map_err(|error| Fault::Cannot(error.context("a scratch server cannot be prepared")))?;
        Ok(scratch)
    }

    /// Makes an account of ours that may do everything, and removes those that a new server has.
    fn take_over(&self, setup: &Setup<'_>) -> Result<()> {
        let ours = format!("{}@'localhost'", quote_text(&self.ours));
        let connection = self.server.params().prepare(&self.client)?;
        let root = Session::new(&connection, setup.cancel);
        root.query(&format!("CREATE USER {ours}"))?;
        root.query(&format!("GRANT ALL PRIVILEGES ON *.* TO {ours} WITH GRANT OPTION"))?;
        // How the right to log in for others is written differs; only few accounts have been granted it.
        for anybody in ["''@''", "''@'%'"] {
            let _ = root.query(&format!("GRANT PROXY ON {anybody} TO {ours} WITH GRANT OPTION"));
        }
        let connection = self.params.prepare(&self.client)?;
        let session = Session::new(&connection, setup.cancel);
        let accounts: Vec<[String; 2]> = session.rows("SELECT User, Host FROM mysql.user")?;
        for [user, host] in accounts {
            if user != self.ours && !NEEDED.contains(&user.as_str()) {
                session.query(&format!("DROP USER {}@{}", quote_text(&user), quote_text(&host)))?;
            }
        }
        Ok(())
    }

    /// Feeds it the accounts, and compares what it then has.
    pub(in crate::drill) fn globals(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        files: &dyn Files,
        meddle: Option<Meddle<'_>>,
    ) -> Proven {
        let stored = detail(manifest)?;
        if stored.accounts.is_empty() {
            return Err(Fault::Cannot(
                Error::failed("the snapshot has only the grants of the account that made it")
                    .hint("let that account read the server's users: GRANT SELECT ON mysql.* TO …"),
            ));
        }
        let begin = Instant::now();
        let script = String::from_utf8_lossy(&files.read(GLOBALS_SQL)?).into_owned();
        let databases = self.stubs(setup, &script)?;
        self.script(setup, &script)?;
        let restore = begin.elapsed();
        self.meddle(setup, "", meddle)?;
        let sink = Nowhere::keeping(GLOBALS_SQL);
        let again = self.dump(setup, GLOBALS, &sink)?;
        // Grants outlive what they are on: with them the databases come as on the source.
        for database in &databases {
            self.query(setup, &format!("DROP DATABASE {}", quote_ident(database)))?;
        }
        let found = String::from_utf8_lossy(&sink.kept()).into_owned();
        let (before, after) = (accounts::lines(&script, &self.ours), accounts::lines(&found, &self.ours));
        let mut differences = compare::lines(&before, &after);
        let restored = again.mysql.map(|detail| detail.accounts).unwrap_or_default();
        for account in &stored.accounts {
            if named(&script, account) && !restored.contains(account) {
                differences.push(format!("the account {}@{} is missing", account.user, account.host));
            }
        }
        let lacking = manifest.notes.iter().find(|note| note.starts_with("not readable for this account"));
        if let (Some(note), true) = (lacking, differences.is_empty()) {
            return Err(Fault::Cannot(
                Error::failed("the snapshot lacks accounts").because_text(note.clone()).hint(
                    "let the account that backs up read the server's users: GRANT SELECT ON mysql.* TO …",
                ),
            ));
        }
        Proof {
            restore: Some(restore),
            objects: stored.accounts.len() as u64,
            bytes: script.len() as u64,
            ..Proof::default()
        }
        .unless(differences)
    }

    /// Makes what the grants of a script are on; returns the databases for that.
    fn stubs(&self, setup: &Setup<'_>, script: &str) -> Result<Vec<String>, Fault> {
        let mut tables: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let mut statements = Vec::new();
        let mut databases = Vec::new();
        for stub in script.lines().filter_map(accounts::stub) {
            let database = match &stub {
                Stub::Table { database, .. }
                | Stub::Procedure { database, .. }
                | Stub::Function { database, .. } => database.clone(),
            };
            if !databases.contains(&database) {
                databases.push(database);
            }
            match stub {
                Stub::Table { database, table, columns } => {
                    let known = tables.entry((database, table)).or_default();
                    for column in columns {
                        if !known.contains(&column) {
                            known.push(column);
                        }
                    }
                }
                Stub::Procedure { database, name } => statements.push(format!(
                    "CREATE PROCEDURE {}.{}() BEGIN END",
                    quote_ident(&database),
                    quote_ident(&name)
                )),
                Stub::Function { database, name } => statements.push(format!(
                    "CREATE FUNCTION {}.{}() RETURNS INT DETERMINISTIC RETURN 1",
                    quote_ident(&database),
                    quote_ident(&name)
                )),
            }
        }
        // The server's own tables are there.
        databases.retain(|database| {
            !matches!(database.as_str(), "mysql" | "sys" | "performance_schema" | "information_schema")
        });
        tables.retain(|(database, _), _| databases.contains(database));
        statements.retain(|statement| {
            databases.iter().any(|database| statement.contains(&format!(" {}.", quote_ident(database))))
        });
        statements.sort();
        statements.dedup();
        for database in &databases {
            self.query(setup, &format!("CREATE DATABASE {}", quote_ident(database)))?;
        }
        for ((database, table), columns) in &tables {
            let mut list: Vec<String> =
                columns.iter().map(|column| format!("{} INT", quote_ident(column))).collect();
            if list.is_empty() {
                list.push("a INT".to_owned());
            }
            let name = format!("{}.{}", quote_ident(database), quote_ident(table));
            self.query(setup, &format!("CREATE TABLE {name} ({})", list.join(", ")))?;
        }
        for statement in &statements {
            self.query(setup, statement)?;
        }
        Ok(databases)
    }

    /// Restores a database, reads it back and compares it. It is dropped afterwards.
    pub(in crate::drill) fn database(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        files: &dyn Files,
        name: &str,
        meddle: Option<Meddle<'_>>,
    ) -> Proven {
        require_digested(manifest)?;
        let proven = self.restore_and_compare(setup, manifest, files, name, meddle);
        // What cannot be dropped goes with the server.
        let _: Result<(), Error> =
            self.query(setup, &format!("DROP DATABASE IF EXISTS {}", quote_ident(name)));
        proven
    }

    fn restore_and_compare(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        files: &dyn Files,
        name: &str,
        meddle: Option<Meddle<'_>>,
    ) -> Proven {
        let begin = Instant::now();
        let target = Target { params: self.params.clone(), database: name.to_owned() };
        let options = Options::default();
        restore::restore(manifest, files, &target, &self.clients, &options, setup.cancel, &|text| {
            (setup.notice)(text)
        })?;
        let restore = begin.elapsed();
        self.meddle(setup, name, meddle)?;
        let again = self.dump(setup, name, &Nowhere::default())?;
        require_understood(&again)?;
        let mut differences = compare::objects(&manifest.objects, &again.objects);
        differences.extend(compare::mysql(detail(manifest)?, detail(&again)?));
        Proof::of(manifest, restore, Vec::new()).unless(differences)
    }

    fn query(&self, setup: &Setup<'_>, sql: &str) -> Result<()> {
        let connection = self.params.prepare(&self.client)?;
        Session::new(&connection, setup.cancel).query(sql).map(drop)
    }

    fn meddle(&self, setup: &Setup<'_>, database: &str, meddle: Option<Meddle<'_>>) -> Result<(), Fault> {
        let place =
            if database.is_empty() { String::new() } else { format!("USE {}; ", quote_ident(database)) };
        meddled(meddle, &|sql| self.query(setup, &format!("{place}{sql}")))
    }

    fn script(&self, setup: &Setup<'_>, sql: &str) -> Result<(), Fault> {
        let connection = self.params.prepare(&self.client)?;
        let mut input = connection
            .sql()
            .args(["--batch", "--binary-mode", "--no-auto-rehash", "--default-character-set=utf8mb4"])
            .item(GLOBALS)
            .cancel(setup.cancel)
            .spawn_input()?;
        let fed = input.write_all(sql.as_bytes()).map_err(into_error);
        // A syntax error repeats a part of the statement, which may hold a hash.
        fed.and_then(|()| input.finish().map(drop)).map_err(|error| {
            let text = error.summary();
            let text = text.split(" near '").next().unwrap_or_default();
            Fault::from(Error::failed(compare::without_secret(text)))
        })
    }

    /// Reads what the server has, as a backup would.
    fn dump(&self, setup: &Setup<'_>, item: &str, sink: &Nowhere) -> Result<Manifest> {
        let host = Host::Socket(self.server.socket());
        let config = MysqlConfig {
            server: super::scratch_server(
                host,
                3306,
                &self.ours,
                self.client.dump.parent().map(PathBuf::from).into_iter().collect(),
            ),
        };
        let source = super::scratch_source(SourceKind::Mysql(config.clone()));
        let item = Item { name: item.to_owned(), estimate: None, problem: None };
        Mysql::new(&source, &config)?.dump(&item, sink, setup.cancel)
    }

    /// Whether the server has ended.
    pub(in crate::drill) fn is_dead(&self) -> bool {
        self.server.is_dead()
    }

    /// Why the server no longer runs, if it does not.
    pub(in crate::drill) fn death(&mut self) -> Option<Error> {
        self.server.death()
    }
}

/// Whether a script creates or grants to an account. Those that may not be read are not in it.
fn named(script: &str, account: &Account) -> bool {
    let Account { user, host, role } = account;
    if *role {
        return script.contains(&format!("CREATE ROLE IF NOT EXISTS {};", quote_ident(user)));
    }
    let names = [
        format!("{}@{}", quote_ident(user), quote_ident(host)),
        format!("{}@{}", quote_text(user), quote_text(host)),
    ];
    names.iter().any(|name| script.contains(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_in_a_script_by_its_whole_name() {
        let script =
            "CREATE USER IF NOT EXISTS `app2`@`%` IDENTIFIED BY 'x';\nCREATE ROLE IF NOT EXISTS `readers`;\n";
        let account = |user: &str, host: &str, role| Account { user: user.into(), host: host.into(), role };
        assert!(named(script, &account("app2", "%", false)));
        assert!(named(script, &account("readers", "", true)));
        for other in
            [account("app", "%", false), account("", "%", false), account("app2", "localhost", false)]
        {
            assert!(!named(script, &other), "{other:?}");
        }
    }
}
