//! A whole server back with one command: every database of a source, and its accounts.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use jiff::Zoned;
use serde::Serialize;

use super::{
    Options, Reading, Restored,
    target::Target,
    verify::{self, Stored},
};
use crate::{
    config::{Config, MysqlConfig},
    error::{Error, Result},
    known::{self, Asked, Name},
    repository::{At, Patience, Snapshot, SnapshotFiles, SnapshotReader, future_warning, patiently},
    settings::{Secret, SecretFile},
    source::{
        GLOBALS,
        manifest::{Manifest, Omitted},
        mysql::{
            clients::Clients,
            connect::ConnectParams,
            restore::{Accounts, Grants, Part, Target as Database, Whole, parse_server_url},
        },
    },
    stream::cancel::Cancel,
};

/// What to restore.
#[derive(Debug, Clone)]
pub struct ServerRequest {
    /// Source name.
    pub source: String,
    /// The server, of a source that has several.
    pub server: Option<String>,
    /// Which snapshot of each item.
    pub at: At,
    /// The URL of the server to restore into.
    pub into: String,
    /// File with the password of the target's account.
    pub password_file: Option<PathBuf>,
    /// How to restore.
    pub options: Options,
}

/// What was restored. The field names are a promise.
#[derive(Debug, Serialize)]
pub struct ServerReport {
    /// Source name.
    pub source: String,
    /// `ok`: all of it; `partial`: something is missing; `failed`: nothing was restored.
    pub outcome: &'static str,
    /// Time it took.
    pub seconds: f64,
    /// Each item.
    pub items: Vec<ServerItem>,
}

/// What came of one item. The field names are a promise.
#[derive(Debug, Serialize)]
pub struct ServerItem {
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The moment of which it shows the data.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::moment::option")]
    pub time: Option<Zoned>,
    /// What was done in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Restored>,
    /// Whether all that the snapshot holds was restored.
    pub whole: bool,
    /// What the snapshot lacks, because it could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
    /// What an operator should know of accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it was not restored, with what to do next.
    pub error: Option<String>,
}

impl ServerItem {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            item: snapshot.item.clone(),
            snapshot: Some(snapshot.id.clone()),
            time: Some(snapshot.time.clone()),
            database: None,
            whole: false,
            omitted: Vec::new(),
            notes: Vec::new(),
            error: None,
        }
    }

    fn failed(snapshot: &Snapshot, error: &Error) -> Self {
        Self { error: Some(error.to_string()), ..Self::of(snapshot) }
    }

    fn restored(snapshot: &Snapshot, result: Result<Restored>) -> Self {
        match result {
            Ok(database) => {
                let whole = database.missing.is_empty() && database.differences.is_empty();
                Self { database: Some(database), whole, ..Self::of(snapshot) }
            }
            Err(error) => Self::failed(snapshot, &error),
        }
    }

    fn accounts(snapshot: &Snapshot, result: Result<Accounts>) -> Self {
        match result {
            Ok(Accounts { whole, notes }) => Self { whole, notes, ..Self::of(snapshot) },
            Err(error) => Self::failed(snapshot, &error),
        }
    }
}

impl ServerReport {
    fn finish(&mut self, begin: Instant) {
        self.seconds = begin.elapsed().as_secs_f64();
        self.outcome = if self.items.iter().all(|item| item.whole) {
            "ok"
        } else if self.items.iter().any(|item| item.database.is_some() || item.whole) {
            "partial"
        } else {
            "failed"
        };
    }
}

/// A snapshot to be restored, and the name of its database.
struct Chosen {
    snapshot: Snapshot,
    database: String,
}

/// A snapshot whose manifest is read.
struct Readable<'a> {
    chosen: &'a Chosen,
    files: SnapshotFiles<'a>,
    manifest: Manifest,
}

/// Restores every database of a source, and its accounts, into a server on which they are new.
///
/// # Errors
/// What kept it from beginning: then nothing was changed.
pub fn run_server(
    config: &Config,
    request: &ServerRequest,
    notice: &(dyn Fn(&str) + Sync),
    cancel: &Cancel,
) -> Result<ServerReport> {
    patiently(config.repository.retry_for, cancel, notice, |patience| {
        restore_server(config, request, notice, patience, cancel)
    })
}

fn restore_server(
    config: &Config,
    request: &ServerRequest,
    notice: &dyn Fn(&str),
    patience: &Patience,
    cancel: &Cancel,
) -> Result<ServerReport> {
    let (params, clients) = target(config, request)?;
    let begin = Instant::now();
    let reading = Reading::begin(config, notice, patience, cancel)?;
    let chosen = choose(config, request, &reading, notice)?;
    let reader = reading.repository.reader()?;
    let mut report =
        ServerReport { source: request.source.clone(), outcome: "failed", seconds: 0.0, items: Vec::new() };
    let readable = read(&reader, &chosen, &mut report)?;
    let job = Job { request, params: &params, clients: &clients, notice, cancel };
    job.restore(&readable, &mut report)?;
    report.items.sort_by(|a, b| a.item.cmp(&b.item));
    report.finish(begin);
    Ok(report)
}

struct Job<'a> {
    request: &'a ServerRequest,
    params: &'a ConnectParams,
    clients: &'a Clients,
    notice: &'a dyn Fn(&str),
    cancel: &'a Cancel,
}

impl Job<'_> {
    fn restore(&self, readable: &[Readable<'_>], report: &mut ServerReport) -> Result<()> {
        let Self { request, params, clients, notice, cancel } = *self;
        let is_globals = |one: &&Readable<'_>| one.chosen.database == GLOBALS;
        let (globals, databases): (Vec<&Readable<'_>>, Vec<&Readable<'_>>) =
            readable.iter().partition(is_globals);
        let parts: Vec<Part<'_>> = databases
            .iter()
            .map(|one| Part {
                manifest: &one.manifest,
                files: &one.files,
                target: Database { params: params.clone(), database: one.chosen.database.clone() },
            })
            .collect();
        let whole = Whole::prepare(&parts, params, clients, &request.options, cancel)?;
        let accounts: Vec<(&Readable<'_>, Result<Grants>)> = globals
            .into_iter()
            .map(|one| {
                notice(&format!("{}: accounts", one.chosen.snapshot.item));
                (one, self.accounts(&whole, one))
            })
            .collect();
        let restored = whole.restore(&parts, notice);
        for ((one, part), result) in databases.iter().zip(&parts).zip(restored) {
            let result = result.and_then(|done| self.verified(one, part, done));
            let omitted = one.manifest.omitted.clone();
            report.items.push(ServerItem { omitted, ..ServerItem::restored(&one.chosen.snapshot, result) });
        }
        for (one, grants) in accounts {
            let result = grants.and_then(|grants| whole.grant(grants));
            report.items.push(ServerItem::accounts(&one.chosen.snapshot, result));
        }
        Ok(())
    }

    fn accounts(&self, whole: &Whole<'_>, globals: &Readable<'_>) -> Result<Grants> {
        if self.request.options.no_owner {
            return Ok(Grants::left_out("accounts and grants were not restored: --no-owner"));
        }
        whole.accounts(&globals.manifest, &globals.files)
    }

    /// Reads a database back if that is wanted.
    fn verified(&self, one: &Readable<'_>, part: &Part<'_>, mut done: Restored) -> Result<Restored> {
        let Self { request, clients, notice, cancel, .. } = *self;
        if request.options.verify {
            let target = Target::Mysql { target: part.target.clone(), clients: clients.clone() };
            let stored = Stored {
                manifest: &one.manifest,
                files: &one.files,
                roles: &[],
                options: &request.options,
                notice,
                cancel,
            };
            verify::verify(&target, &stored, &mut done)?;
        }
        Ok(done)
    }
}

/// The server that `--into` names.
fn target(config: &Config, request: &ServerRequest) -> Result<(ConnectParams, Clients)> {
    if !["mysql://", "mariadb://"].iter().any(|scheme| request.into.starts_with(scheme)) {
        return Err(Error::usage("a whole server is restored into a URL of MySQL or MariaDB").hint(
            "write --into mysql://user@host:3306; items of other kinds of sources are restored one by one",
        ));
    }
    if request.options.overwrite {
        return Err(Error::usage("--overwrite is of use for containers and file shares only"));
    }
    let mysql = config.source(&request.source).and_then(|source| MysqlConfig::of(&*source.kind));
    if mysql.is_some_and(|mysql| mysql.server.azure.is_some()) && request.server.is_none() {
        return Err(Error::usage(format!("{} may have several servers", request.source))
            .hint(format!("name one of them: {}/SERVER --all", request.source)));
    }
    let mut params = parse_server_url(&request.into)?;
    if let Some(file) = &request.password_file {
        let password = SecretFile::at("--password-file", file).load()?;
        params.password = Some(Secret::new(password.expose().to_owned()).into());
    }
    let dirs = mysql.map_or(&[][..], |mysql| &mysql.server.client_dirs);
    Ok((params, Clients::find(dirs)))
}

/// The snapshot of each item.
fn choose(
    config: &Config,
    request: &ServerRequest,
    reading: &Reading,
    notice: &dyn Fn(&str),
) -> Result<Vec<Chosen>> {
    if matches!(request.at, At::Id(_)) {
        return Err(Error::usage("--at with the id of a snapshot goes with one item: SOURCE/ITEM")
            .hint("name a time: the newest snapshot of each item at or before it is restored"));
    }
    let mut by_item: BTreeMap<&str, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in reading.snapshots.iter().filter(|snapshot| snapshot.source == request.source) {
        by_item.entry(&snapshot.item).or_default().push(snapshot.clone());
    }
    let database = |item: &str| match &request.server {
        None => Some(item.to_owned()),
        Some(server) => Some(item.strip_prefix(server.as_str())?.strip_prefix('/')?.to_owned()),
    };
    let servers: Vec<&str> =
        by_item.keys().filter_map(|item| item.strip_suffix(GLOBALS)?.strip_suffix('/')).collect();
    if request.server.is_none() && !servers.is_empty() {
        return Err(Error::usage(format!("{} has several servers", request.source))
            .hint(format!("name one of them: {}", named(&request.source, &servers))));
    }
    let mut chosen = Vec::new();
    let mut found = false;
    for (item, of_item) in &by_item {
        let Some(database) = database(item) else { continue };
        found = true;
        let name = format!("{}/{item}", request.source);
        match request.at.choose(&name, of_item) {
            Ok(snapshot) => {
                future_warning(snapshot, of_item).iter().for_each(|warning| notice(warning));
                chosen.push(Chosen { snapshot: snapshot.clone(), database });
            }
            // It was not there yet.
            Err(error) => notice(&format!("not restored: {}", error.summary())),
        }
    }
    if !found {
        return Err(not_stored(config, request, reading));
    }
    if chosen.is_empty() {
        let error = Error::failed(format!("{} has no snapshot of that time or earlier", request.source));
        let asked = Asked { command: "restore --all", at: &request.at, removes: false };
        let name = Name { source: &request.source, item: None };
        return Err(known::elsewhere(config, asked, name, &reading.others, error));
    }
    Ok(chosen)
}

/// Why there is no snapshot of the source or server.
fn not_stored(config: &Config, request: &ServerRequest, reading: &Reading) -> Error {
    let name = Name { source: &request.source, item: None };
    let others: Vec<Snapshot> = reading.others.iter().filter(|s| is_of(request, s)).cloned().collect();
    if request.server.is_none() || !others.is_empty() {
        if let Err(error) = known::require_host(config, &reading.snapshots, &reading.others) {
            return error;
        }
        let asked = Asked { command: "restore --all", at: &request.at, removes: false };
        return known::absent(config, asked, name, &reading.snapshots, &others);
    }
    let server = request.server.as_deref().unwrap_or_default();
    let text = format!("the repository has no snapshot of {}/{server}/…", request.source);
    let stored = reading.snapshots.iter().map(|s| (s.source.as_str(), s.item.as_str()));
    let name = Name { item: Some(server), ..name };
    known::unknown(config, text, name, stored, "`tik-backup snapshots` lists what is stored")
}

/// Whether a snapshot is of the server, or the source, that is restored.
fn is_of(request: &ServerRequest, snapshot: &Snapshot) -> bool {
    let within = |server: &str| snapshot.item.strip_prefix(server).is_some_and(|rest| rest.starts_with('/'));
    snapshot.source == request.source && request.server.as_deref().is_none_or(within)
}

fn named(source: &str, servers: &[&str]) -> String {
    servers.iter().map(|server| format!("{source}/{server} --all")).collect::<Vec<_>>().join(", ")
}

/// Reads the manifests. What cannot be read is part of the report.
fn read<'a>(
    reader: &'a SnapshotReader,
    chosen: &'a [Chosen],
    report: &mut ServerReport,
) -> Result<Vec<Readable<'a>>> {
    let mut readable = Vec::new();
    for one in chosen {
        let Chosen { snapshot, .. } = one;
        let files = SnapshotFiles::new(reader, snapshot);
        match Manifest::of(&files, &snapshot.source, &snapshot.item) {
            Ok(manifest) if manifest.kind != "mysql" => {
                return Err(Error::usage(format!(
                    "{} is of kind {}: restore --all is for MySQL and MariaDB",
                    snapshot.name(),
                    manifest.kind
                ))
                .hint("restore its items one by one: SOURCE/ITEM"));
            }
            Ok(manifest) => readable.push(Readable { chosen: one, files, manifest }),
            Err(error) => report.items.push(ServerItem::failed(snapshot, &error)),
        }
    }
    Ok(readable)
}
