//! Proving databases and accounts of a MySQL or MariaDB server.

mod accounts;
mod companions;
mod globals;

use std::{path::PathBuf, time::Instant};

use self::companions::{Companions, Others};
use super::{
    Detail, Mysql,
    clients::{Client, Clients, Flavour, Version},
    config::MysqlConfig,
    connect::ConnectParams,
    lacks,
    restore::{self, Target},
    scratch::{MysqlServer, ServerPrograms},
    session::{Session, quote_ident, quote_text},
};
use crate::{
    error::{Error, Result},
    scratch::{Rules, ScratchDir},
    settings::{Host, Patterns},
    source::{
        Item, Source,
        manifest::{Manifest, Object},
        restore::{Options, Restored},
        verify::{
            Database, Fault, Globals, Proof, Proven, ScratchServer, Setup, Verifier, compare, free_name,
            inflict, of_restore, require_digested, require_understood, scratch_server, scratch_source,
            sink::NullSink,
        },
    },
};

/// Accounts that servers create and need.
const NEEDED: [&str; 5] = ["mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC"];

/// A scratch server. Until the source's accounts are restored, the drill's account is the only one.
struct Scratch {
    // The server must stop before its directory is removed: fields are dropped in this order.
    server: MysqlServer,
    client: Client,
    clients: Clients,
    params: ConnectParams,
    ours: String,
    _dir: ScratchDir,
}

/// Scratch servers of MySQL and MariaDB.
pub(super) struct ScratchServers;

impl Verifier for ScratchServers {
    fn server_key(&self, _setup: &Setup<'_>, manifest: &Manifest) -> Result<String, Fault> {
        let (flavour, version) = version(manifest)?;
        let (major, minor) = version.line();
        Ok(format!("{flavour} {major}.{minor}"))
    }

    fn has_globals(&self) -> bool {
        true
    }

    fn start(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        globals: Option<&Globals<'_>>,
    ) -> Result<Box<dyn ScratchServer>, Fault> {
        let scratch = Scratch::start(setup, manifest, globals.map(|globals| globals.manifest));
        Ok(Box::new(scratch.map_err(|fault| fault.judged(lacks::said))?))
    }
}

impl ScratchServer for Scratch {
    fn globals(&self, setup: &Setup<'_>, globals: &Globals<'_>, damage: Option<&str>) -> Proven {
        self.accounts(setup, globals, damage).map_err(|fault| fault.judged(lacks::said))
    }

    fn database(&self, setup: &Setup<'_>, database: &Database<'_>) -> Proven {
        self.prove(setup, database).map_err(|fault| fault.judged(lacks::said))
    }

    fn is_dead(&self) -> bool {
        self.server.is_dead()
    }

    fn death(&mut self) -> Option<Error> {
        self.server.death()
    }

    fn unconfined(&self) -> &[String] {
        self.server.unconfined()
    }
}

fn detail(manifest: &Manifest) -> Result<&Detail> {
    manifest.detail::<Detail>().ok_or_else(|| Error::failed("the manifest says nothing of a MySQL server"))
}

/// Notes of a restore into a scratch server: unproven parts, and warnings without consequences.
fn notes(done: &Restored) -> Vec<String> {
    let mut notes = restore::notes(&done.own::<restore::Deviations>().redefined);
    if !done.warnings.is_empty() {
        // The texts of warnings quote values.
        let numbers: Vec<_> = restore::numbers(&done.warnings).iter().map(u32::to_string).collect();
        notes.push(format!(
            "the server gave warnings while it loaded the dump (numbers {}), but the contents are equal",
            numbers.join(", ")
        ));
    }
    notes
}

/// Family and version of the server that a snapshot needs.
fn version(manifest: &Manifest) -> Result<(Flavour, Version)> {
    let text = manifest.server_version.split_whitespace().nth(1).unwrap_or_default();
    let version = Version::find(text).or_else(|| Version::find(&manifest.server_version));
    let unknown = || Error::failed("the manifest does not contain the version of the server");
    Ok((detail(manifest)?.flavour, version.ok_or_else(unknown)?))
}

/// The client for a server: from the configured directories, or the usual places.
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

fn is_read_only(manifest: &Manifest) -> bool {
    let database = manifest.detail::<Detail>().and_then(|detail| detail.database.as_ref());
    database.is_some_and(|database| database.read_only)
}

/// Ignores times that the scratch server wrote into rows when they were loaded: of these tables only the number of rows is
/// compared. Returns a note with the tables.
fn forget_row_times(stored: &[Object], restored: &mut Manifest) -> Vec<String> {
    let Some(tables) = restored.detail::<Detail>().map(|detail| detail.row_times.clone()) else {
        return Vec::new();
    };
    for table in &tables {
        let found = restored.objects.iter_mut().find(|object| object.name == *table);
        let before = stored.iter().find(|object| object.name == *table);
        if let (Some(found), Some(before)) = (found, before) {
            (found.bytes, found.digest) = (before.bytes, before.digest);
        }
    }
    if tables.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "only the number of rows was compared for tables with system versioning whose history is not in the snapshot, because their \
         rows got new times when they were loaded: {}",
        tables.join(", ")
    )]
}

impl Scratch {
    /// Starts an empty server like the one of the manifest.
    fn start(setup: &Setup<'_>, manifest: &Manifest, globals: Option<&Manifest>) -> Result<Self, Fault> {
        let (flavour, version) = version(manifest)?;
        let programs = ServerPrograms::of_line(flavour, version, &setup.dirs()).map_err(Fault::Cannot)?;
        let (clients, client) = clients(&setup.dirs(), flavour, version).map_err(Fault::Cannot)?;
        let dir = ScratchDir::new(setup.drill.dir.as_deref()).map_err(Fault::Cannot)?;
        let case = detail(manifest)?.lower_case_table_names;
        let rules = Rules::of(setup.drill);
        let server = MysqlServer::start_with(&programs, Some(case), dir.path(), &rules, setup.cancel)
            .map_err(|error| Fault::Cannot(error.context("a scratch server cannot be started")))?;
        let known = globals.and_then(|globals| globals.detail::<Detail>());
        let known = known.map(|detail| detail.accounts.as_slice()).unwrap_or_default();
        let ours = free_name(known.iter().map(|account| account.user.as_str()));
        let params = ConnectParams { user: Some(ours.clone()), ..server.params() };
        let scratch = Self { server, client, clients, params, ours, _dir: dir };
        scratch
            .take_over(setup)
            .map_err(|error| Fault::Cannot(error.context("a scratch server cannot be prepared")))?;
        Ok(scratch)
    }

    /// Creates an account with all privileges for the drill, and removes those of a new server.
    fn take_over(&self, setup: &Setup<'_>) -> Result<()> {
        let ours = format!("{}@'localhost'", quote_text(&self.ours));
        let connection = self.server.params().prepare(&self.client)?;
        let root = Session::new(&connection, setup.cancel);
        root.query(&format!("CREATE USER {ours}"))?;
        root.query(&format!("GRANT ALL PRIVILEGES ON *.* TO {ours} WITH GRANT OPTION"))?;
        // The syntax of the PROXY privilege differs, and few accounts have it.
        for anybody in ["''@''", "''@'%'"] {
            let _ = root.query(&format!("GRANT PROXY ON {anybody} TO {ours} WITH GRANT OPTION"));
        }
        if self.client.flavour == Flavour::Mysql {
            // Nothing of this server outlives a crash. Versions before 8.0.21 always write it.
            let _ = root.query("ALTER INSTANCE DISABLE INNODB REDO_LOG");
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

    /// Restores a database, reads it back and compares it. It is dropped afterwards, with everything created for it.
    fn prove(&self, setup: &Setup<'_>, of: &Database<'_>) -> Proven {
        let others = &Others { siblings: of.siblings, needed: of.alone_with };
        require_digested(of.manifest)?;
        let mut companions = Companions::default();
        let proven = self.restore_and_compare(setup, of, others, &mut companions);
        // A database that cannot be dropped is removed with the server.
        if is_read_only(of.manifest) {
            let _: Result<()> = self.make_writable(setup, of.name);
        }
        self.drop_all(setup, companions.names.iter().map(String::as_str).chain([of.name]));
        proven
    }

    fn restore_and_compare(
        &self,
        setup: &Setup<'_>,
        of: &Database<'_>,
        others: &Others<'_>,
        companions: &mut Companions,
    ) -> Proven {
        let Database { manifest, files, name, damage, .. } = *of;
        let target = Target { params: self.params.clone(), database: name.to_owned() };
        let options = Options { scratch: true, jobs: Some(setup.processes), ..Options::default() };
        others.require_alone(detail(manifest)?.refers_to.clone())?;
        self.define(setup, others, name, others.needed.cloned().unwrap_or_default(), companions)?;
        let begin = Instant::now();
        let notice = |text: &str| setup.notice_about(manifest, text);
        let loaded = restore::load(manifest, files, &target, &self.clients, &options, setup.cancel, &notice)
            .map_err(|unloaded| others.unloaded(unloaded))?;
        others.require_alone(loaded.outside())?;
        self.define(setup, others, name, loaded.outside(), companions)?;
        self.finish(setup, companions)?;
        let done = loaded.finish().map_err(of_restore)?;
        let restore = begin.elapsed();
        tracing::debug!(seconds = restore.as_secs_f64(), "the item is restored and is compared");
        if damage.is_some() && is_read_only(manifest) {
            self.make_writable(setup, name)?;
        }
        inflict(damage, |sql| self.query(setup, &format!("USE {}; {sql}", quote_ident(name))))?;
        let history = !detail(manifest)?.history.is_empty();
        let mut again = self.dump_with(setup, name, &NullSink::default(), history)?;
        require_understood(&again)?;
        again.forget_omitted(manifest);
        let mut notes = notes(&done);
        notes.extend(forget_row_times(&manifest.objects, &mut again));
        let mut differences = compare::objects(&manifest.objects, &again.objects);
        let stored = detail(manifest)?.without_views(&done.missing);
        let expected =
            restore::as_made(&stored, detail(&again)?, &done.own::<restore::Deviations>().redefined);
        differences.extend(super::compare::details(&expected, detail(&again)?));
        notes.extend(companions.note());
        let proof = Proof::of(manifest, restore, notes).unless(differences)?;
        if done.missing.is_empty() { Ok(proof) } else { Err(companions::missing(&done.missing)) }
    }

    fn make_writable(&self, setup: &Setup<'_>, database: &str) -> Result<()> {
        let connection = self.params.prepare(&self.client)?;
        restore::make_writable(&Session::new(&connection, setup.cancel), database)
    }

    fn query(&self, setup: &Setup<'_>, sql: &str) -> Result<()> {
        let connection = self.params.prepare(&self.client)?;
        Session::new(&connection, setup.cancel).query(sql).map(drop)
    }

    /// Reads a database or the accounts as a backup would.
    fn dump(&self, setup: &Setup<'_>, item: &str, sink: &NullSink) -> Result<Manifest> {
        self.dump_with(setup, item, sink, true)
    }

    /// As [`Self::dump`]; `history` says whether that of tables with system versioning is read as well.
    fn dump_with(&self, setup: &Setup<'_>, item: &str, sink: &NullSink, history: bool) -> Result<Manifest> {
        let host = Host::Socket(self.server.socket());
        let config = MysqlConfig {
            server: scratch_server(
                host,
                3306,
                &self.ours,
                self.client.dump.parent().map(PathBuf::from).into_iter().collect(),
            ),
            exclude_tables: Patterns::default(),
        };
        let source = scratch_source();
        let item = Item { name: item.to_owned(), estimate: None, problem: None };
        let server = Mysql::new(&source, &config)?.in_shares(setup.processes);
        let server = if history { server } else { server.without_history() };
        server.dump(&item, sink, setup.cancel)
    }
}
