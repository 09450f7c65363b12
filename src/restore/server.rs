//! Restores a whole server with one command: every database of a source, and its accounts.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use jiff::Zoned;
use serde::Serialize;

use super::{Options, Restored, reading::Reading, target::NO_OVERWRITE};
use crate::{
    config::Config,
    error::{Error, Result},
    known::{self, Asked, Name},
    repository::{At, Patience, Snapshot, SnapshotFiles, SnapshotReader, future_warning, patiently},
    settings::SecretFile,
    source::{
        KINDS, Kind,
        manifest::{Manifest, Omitted},
        name::{ItemName, globals, within},
        target::{Accounts, ServerDone, ServerPart, ServerTarget, WholeServer},
    },
    stream::cancel::Cancel,
};

/// The arguments of the restore of a server.
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
    /// The options of the restore.
    pub options: Options,
}

/// The report of the restore of a server. The field names are stable.
#[derive(Debug, Serialize)]
pub struct ServerReport {
    /// Source name.
    pub source: String,
    /// `ok`: all of it; `partial`: something is missing; `failed`: nothing was restored.
    pub outcome: &'static str,
    /// Its duration.
    pub seconds: f64,
    /// The results of all items.
    pub items: Vec<ServerItem>,
}

/// The result of one item. The field names are stable.
#[derive(Debug, Serialize)]
pub struct ServerItem {
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The time of the data in it.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::moment::option")]
    pub time: Option<Zoned>,
    /// The restored database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Restored>,
    /// Whether everything in the snapshot was restored.
    pub whole: bool,
    /// Objects that the snapshot lacks, because they could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
    /// Notes about accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it was not restored, with a hint.
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

/// Restores every database of a source, and its accounts, into a server that does not have them yet.
///
/// # Errors
/// It could not begin, and nothing was changed.
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
    let (kind, target) = target(config, request)?;
    let begin = Instant::now();
    let reading = Reading::begin(config, notice, patience, cancel)?;
    let chosen = choose(config, request, &reading, notice)?;
    let reader = reading.repository.reader()?;
    let mut report =
        ServerReport { source: request.source.clone(), outcome: "failed", seconds: 0.0, items: Vec::new() };
    let readable = read(kind, &reader, &chosen, &mut report)?;
    restore_into(target.as_ref(), &readable, &request.options, &mut report, notice, cancel)?;
    report.items.sort_by(|a, b| a.item.cmp(&b.item));
    report.finish(begin);
    Ok(report)
}

/// Restores all readable items, and reports each of them.
fn restore_into(
    target: &dyn ServerTarget,
    readable: &[Readable<'_>],
    options: &Options,
    report: &mut ServerReport,
    notice: &dyn Fn(&str),
    cancel: &Cancel,
) -> Result<()> {
    let parts: Vec<ServerPart<'_>> = readable
        .iter()
        .map(|one| ServerPart {
            name: &one.chosen.database,
            is_globals: ItemName::parse(&one.chosen.database, false).is_globals(),
            manifest: &one.manifest,
            files: &one.files,
        })
        .collect();
    let done = target.restore(&parts, options, notice, cancel)?;
    for (one, done) in readable.iter().zip(done) {
        let snapshot = &one.chosen.snapshot;
        report.items.push(match done {
            ServerDone::Database(result) => {
                let omitted = one.manifest.omitted.clone();
                ServerItem { omitted, ..ServerItem::restored(snapshot, *result) }
            }
            ServerDone::Accounts(result) => ServerItem::accounts(snapshot, result),
        });
    }
    Ok(())
}

/// A kind that restores whole servers.
struct Family {
    kind: &'static dyn Kind,
    whole: &'static dyn WholeServer,
}

fn families() -> impl Iterator<Item = Family> {
    KINDS.iter().copied().filter_map(|kind| Some(Family { kind, whole: kind.whole_server()? }))
}

/// The names of all servers that can be restored whole.
fn servers(joined: &str) -> String {
    families().flat_map(|family| family.whole.servers()).copied().collect::<Vec<_>>().join(joined)
}

/// The server that `--into` names, and the kind that it is of.
fn target(config: &Config, request: &ServerRequest) -> Result<(&'static dyn Kind, Box<dyn ServerTarget>)> {
    let scheme = request.into.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    let Some(family) = families().find(|family| family.kind.schemes().contains(&scheme)) else {
        let examples: Vec<_> = families().map(|family| family.whole.example()).collect();
        return Err(Error::usage(format!("a whole server is restored into a URL of {}", servers(" or ")))
            .hint(format!(
                "write --into {}; items of other kinds of sources are restored one by one",
                examples.join(" or ")
            )));
    };
    if request.options.overwrite {
        return Err(Error::usage(NO_OVERWRITE));
    }
    let configured = config.source(&request.source).map(|source| &*source.kind);
    if request.server.is_none()
        && configured.is_some_and(|source| source.has_servers() && source.as_str() == family.kind.name())
    {
        return Err(Error::usage(format!("{} may have several servers", request.source))
            .hint(format!("name one of them: {}/SERVER --all", request.source)));
    }
    let mut target = family.whole.open(&request.into, configured)?;
    if let Some(file) = &request.password_file {
        target.set_password(SecretFile::at("--password-file", file).load()?)?;
    }
    Ok((family.kind, target))
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
        Some(server) => within(item, server).map(str::to_owned),
    };
    let servers: Vec<&str> = by_item.keys().filter_map(|item| globals(item)?.server).collect();
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
            // The item did not exist at that time.
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
    let is_on = |server: &str| within(&snapshot.item, server).is_some();
    snapshot.source == request.source && request.server.as_deref().is_none_or(is_on)
}

fn named(source: &str, servers: &[&str]) -> String {
    servers.iter().map(|server| format!("{source}/{server} --all")).collect::<Vec<_>>().join(", ")
}

/// Reads the manifests. Unreadable ones are part of the report.
fn read<'a>(
    kind: &dyn Kind,
    reader: &'a SnapshotReader,
    chosen: &'a [Chosen],
    report: &mut ServerReport,
) -> Result<Vec<Readable<'a>>> {
    let mut readable = Vec::new();
    for one in chosen {
        let Chosen { snapshot, .. } = one;
        let files = SnapshotFiles::new(reader, snapshot);
        match Manifest::of(&files, &snapshot.source, &snapshot.item) {
            Ok(manifest) if manifest.kind != kind.name() => {
                return Err(Error::usage(format!(
                    "{} is of kind {}: restore --all is for {}",
                    snapshot.name(),
                    manifest.kind,
                    servers(" and ")
                ))
                .hint("restore its items one by one: SOURCE/ITEM"));
            }
            Ok(manifest) => readable.push(Readable { chosen: one, files, manifest }),
            Err(error) => report.items.push(ServerItem::failed(snapshot, &error)),
        }
    }
    Ok(readable)
}
