//! Restoring a database: a new or empty database like the original, the SQL client fed directly from the repository, and
//! afterwards a comparison of row counts with the manifest.

mod before;
mod companion;
mod into;
mod lanes;
mod read_back;
mod redefined;
mod target;
mod verify;
mod views;
mod warnings;
mod whole;

use std::{collections::BTreeSet, io::Write};

pub use companion::Companion;
pub(in crate::source) use into::{AllOfServer, by_url, on_own_server};
pub(crate) use redefined::{Deviations, as_made, notes};
pub(crate) use target::make_writable;
pub use target::{Target, parse_server_url, parse_url};
use views::{Creation, Names};
pub(crate) use warnings::numbers;

use self::{
    before::{
        choose_client, definers, events, expected, no_such_table, require_known_options, require_table,
    },
    warnings::Warnings,
};
use super::{
    DUMP, Detail, GLOBALS_SQL,
    clients::{Clients, Flavour},
    connect::Connection,
    hints,
    inventory::Objects,
    script::{Phases, Redefined, Rewrite, Select, Views},
    session::Session,
};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Manifest,
        restore::{Options, Restored},
    },
    stream::{
        cancel::Cancel,
        child::{Command, into_error},
        files::Files,
    },
};

/// Restores a database from `files` into `target`. Views that read missing objects of other databases are listed as missing.
pub fn restore(
    manifest: &Manifest,
    files: &dyn Files,
    target: &Target,
    clients: &Clients,
    options: &Options,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Restored> {
    let mut done = load(manifest, files, target, clients, options, cancel, notice)?.finish()?;
    done.write_statements();
    Ok(done)
}

/// A database that is loaded except for its views.
pub struct Loaded<'a> {
    manifest: &'a Manifest,
    target: &'a Target,
    options: &'a Options,
    cancel: &'a Cancel,
    connection: Connection,
    expected: Objects,
    views: Views,
    done: Restored,
}

/// Why a database could not be loaded.
pub struct Unloaded {
    /// The error.
    pub error: Error,
    /// Objects of other databases that its tables need and the server lacks: database and name.
    pub outside: BTreeSet<(String, String)>,
}

impl From<Error> for Unloaded {
    fn from(error: Error) -> Self {
        Self { error, outside: BTreeSet::new() }
    }
}

impl From<Unloaded> for Error {
    fn from(unloaded: Unloaded) -> Self {
        if unloaded.outside.is_empty() {
            return unloaded.error;
        }
        unloaded.error.advise_first(format!(
            "its tables take values from sequences of other databases: restore those first: {}",
            views::listed(&unloaded.outside)
        ))
    }
}

/// Restores everything except views into a new or empty database. [`Loaded::finish`] does the rest, once the objects of other
/// databases that the views read exist.
pub fn load<'a>(
    manifest: &'a Manifest,
    files: &dyn Files,
    target: &'a Target,
    clients: &Clients,
    options: &'a Options,
    cancel: &'a Cancel,
    notice: &dyn Fn(&str),
) -> std::result::Result<Loaded<'a>, Unloaded> {
    let detail = manifest.detail::<Detail>().filter(|detail| detail.database.is_some()).ok_or_else(|| {
        Error::usage("this snapshot contains no MySQL database")
            .hint(format!("for users use --to DIR and feed {GLOBALS_SQL} to the SQL client"))
    })?;
    require_known_options(options)?;
    if let Some(table) = &options.table {
        require_table(manifest, table)?;
    }
    let server = super::ask(&target.params, clients, cancel)?;
    let connection = target.params.prepare(choose_client(clients, manifest, detail, &server)?)?;
    let session = Session::new(&connection, cancel);
    let exists = target::require_empty(&session, &target.database)?;
    let mut done = Restored { database: target.database.clone(), created: !exists, ..Restored::default() };
    let expected = expected(detail, options);
    if !options.no_owner {
        done.notes.extend(definers(&session, detail, &expected)?);
    }
    done.notes.extend(events(detail, options));
    if let Some(database) = &detail.database {
        target::create(&session, &target.database, database, exists)?;
    }
    let head = session_setup(&session, server.flavour, options);
    let restore = Restore { manifest, connection: &connection, target, options, head, cancel };
    notice("loading the dump");
    let plan = lanes::Plan::make(&session, manifest, options, notice);
    // The connection counts against limits.
    session.pause();
    let mut needs = BTreeSet::new();
    let views = restore.fill(files, plan.as_ref(), notice, &mut needs, &mut done).map_err(|error| {
        needs.retain(|(database, _)| *database != target.database);
        // Without the information there is no note.
        let outside = views::absent(&session, &needs).unwrap_or_default();
        Unloaded { error: Options::incomplete(error, &done.database, done.created), outside }
    })?;
    Ok(Loaded { manifest, target, options, cancel, connection, expected, views, done })
}

impl Loaded<'_> {
    /// The other databases that views read.
    pub fn outside(&self) -> BTreeSet<String> {
        outside(&self.views, &self.target.database)
    }

    /// Creates the views as far as possible now, because views of other databases may read them. Errors are reported by
    /// [`Loaded::finish`], which creates them again.
    fn try_views(&self) {
        let item = format!("{}/{}", self.manifest.source, self.manifest.item);
        let _: Result<_> = self.creation(&item).create();
    }

    fn creation<'c>(&'c self, item: &'c str) -> Creation<'c> {
        Creation {
            connection: &self.connection,
            cancel: self.cancel,
            database: &self.target.database,
            item,
            views: &self.views,
        }
    }

    /// Creates the views, counts all rows and checks that every object exists.
    pub fn finish(&self) -> Result<Restored> {
        let mut done = self.done.clone();
        let session = Session::new(&self.connection, self.cancel);
        let item = format!("{}/{}", self.manifest.source, self.manifest.item);
        let finished = self.creation(&item).restore(&session, &mut done).and_then(|()| {
            let mut expected = self.expected.clone();
            for missing in &done.missing {
                expected.remove(&("view".to_owned(), missing.name.clone()));
            }
            verify::verify(session, self.manifest, &expected, self.options, &mut done)
        });
        finished.map_err(|error| Options::incomplete(error, &self.target.database, done.created))?;
        let database = self.manifest.detail::<Detail>().and_then(|detail| detail.database.as_ref());
        let read_only = database.is_some_and(|database| database.read_only);
        if !done.missing.is_empty() && read_only {
            done.notes.push(
                "the original is read only, but the database stays writable while views are missing: create them, then ALTER DATABASE … READ ONLY = 1"
                    .to_owned(),
            );
        } else if let Some(database) = database.filter(|_| self.options.table.is_none()) {
            let session = Session::new(&self.connection, self.cancel);
            done.notes.extend(target::finish(&session, &self.target.database, database));
        }
        Ok(done)
    }
}

/// The other databases that these views read.
fn outside(views: &Views, own: &str) -> BTreeSet<String> {
    views.all().iter().flat_map(|view| view.outside(own)).map(|(database, _)| database.to_owned()).collect()
}

struct Restore<'a> {
    manifest: &'a Manifest,
    connection: &'a Connection,
    target: &'a Target,
    options: &'a Options,
    /// Statements that prepare the session.
    head: &'static str,
    cancel: &'a Cancel,
}

/// What was fed to a client.
struct Fed {
    bytes: u64,
    redefined: Vec<Redefined>,
    views: Views,
}

impl Restore<'_> {
    /// Feeds the SQL client from the repository, or several of them. Returns the views, and adds objects of other databases that
    /// tables need to `needs`.
    fn fill(
        &self,
        files: &dyn Files,
        plan: Option<&lanes::Plan>,
        notice: &dyn Fn(&str),
        needs: &mut Names,
        done: &mut Restored,
    ) -> Result<Views> {
        let warnings = Warnings::default();
        let loaded = match plan {
            None => None,
            Some(plan) => {
                // A mark must come at once.
                let start = |stop: &Cancel, observe: lanes::Observer| {
                    self.client(stop).arg("--unbuffered").observe_output(observe).spawn_input()
                };
                let password = self.connection.password();
                lanes::load(plan, &start, &warnings, notice, (self.cancel, password), |out| {
                    self.feed(files, false, out, needs)
                })?
            }
        };
        let fed = match loaded {
            Some(lanes::Loaded { fed, notes }) => {
                done.notes.extend(notes);
                fed
            }
            None => self.fill_in_one_session(files, &warnings, needs)?,
        };
        done.bytes = fed.bytes;
        done.warnings = warnings.take();
        done.notes.extend(notes(&fed.redefined));
        done.keep(Deviations { redefined: fed.redefined, rowless: Vec::new() });
        fed.views.require_all()?;
        Ok(fed.views)
    }

    fn client(&self, cancel: &Cancel) -> Command {
        let item = format!("{}/{}", self.manifest.source, self.manifest.item);
        views::client(self.connection, &self.target.database, &item, cancel)
            .args(["--show-warnings", "--skip-column-names"])
    }

    fn fill_in_one_session(&self, files: &dyn Files, warnings: &Warnings, needs: &mut Names) -> Result<Fed> {
        let seen = warnings.clone();
        let mut input = self.client(self.cancel).observe_output(move |line| seen.line(line)).spawn_input()?;
        let fed = self.feed(files, true, &mut input, needs)?;
        input.finish().map_err(hints::explain)?;
        Ok(fed)
    }

    /// Writes everything but the views. `announcing`: the client is to print what it creates and fills.
    fn feed(
        &self,
        files: &dyn Files,
        announcing: bool,
        out: &mut dyn Write,
        needs: &mut Names,
    ) -> Result<Fed> {
        let mut phases = Phases::new(out);
        let mut rewrite = Rewrite::new(&self.target.database, self.options.no_owner, &mut phases)
            .without_places(is_in_place(self.options))
            .with_stand_ins(self.options.scratch)
            .after_head(self.head)
            .announcing(announcing);
        let fed = match &self.options.table {
            None => files.copy(DUMP, &mut rewrite),
            Some(table) => {
                let mut select = Select::new(table, &mut rewrite);
                files.copy(DUMP, &mut select).and_then(|bytes| {
                    let (_, found) = select.finish().map_err(into_error)?;
                    if found { Ok(bytes) } else { Err(no_such_table(self.manifest, table)) }
                })
            }
        };
        let redefined = rewrite.redefined().to_vec();
        let rewritten = rewrite.finish().map(|_| ());
        needs.clone_from(phases.views().tables_need());
        let parted =
            rewritten.and_then(|()| phases.finish()).and_then(|(out, views)| out.flush().map(|()| views));
        let bytes = fed.map_err(hints::explain)?;
        let views = parted.map_err(|error| hints::explain(into_error(error)))?;
        Ok(Fed { bytes, redefined, views })
    }
}

/// Statements that make the session accept everything that the source accepted: rows that violate a CHECK (MariaDB), rows that
/// may become too large for a page, and tables without a primary key. MySQL allows this only to administrators.
///
/// Without strict mode MySQL's InnoDB ignores the clauses that name directories, so strict mode is disabled only if these are
/// left out.
fn session_setup(session: &Session<'_>, flavour: Flavour, options: &Options) -> &'static str {
    const MARIADB: &str = "\nSET check_constraint_checks = 0, innodb_strict_mode = 0;";
    const MYSQL: &str = "\nSET SESSION foreign_key_checks = 0 /*!80013 , sql_require_primary_key = 0 */ \
                         /*!80030 , sql_generate_invisible_primary_key = 0 */ \
                         /*!80400 , restrict_fk_on_non_standard_key = 0 */;";
    const MYSQL_IN_PLACE: &str = "\nSET SESSION innodb_strict_mode = 0 /*!80013 , sql_require_primary_key = 0 */ \
                                  /*!80030 , sql_generate_invisible_primary_key = 0 */ \
                                  /*!80400 , restrict_fk_on_non_standard_key = 0 */;";
    let wanted = if is_in_place(options) { MYSQL_IN_PLACE } else { MYSQL };
    match flavour {
        Flavour::Mariadb => MARIADB,
        Flavour::Mysql if session.query(wanted.trim()).is_ok() => wanted,
        Flavour::Mysql => "",
    }
}

/// Whether all files go to the server's default locations.
fn is_in_place(options: &Options) -> bool {
    options.no_tablespaces || options.scratch
}
