//! From a snapshot back to a database or to files.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Zoned;
use serde::Serialize;

use crate::{
    config::{Config, Secret, SecretFile, SourceKind},
    error::{Error, Result},
    repository::{At, LockOptions, Repository, Snapshot, SnapshotFiles, SnapshotReader},
    source::{
        Files, GLOBALS, MANIFEST,
        manifest::Manifest,
        mongodb, mysql,
        postgres::{self, Role},
    },
    stream::cancel::Cancel,
};

pub use crate::source::restore::{Options, Restored};

/// Where to restore to.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A database: a URL, or a name on the source's own server.
    Database(String),
    /// A folder that does not exist yet or is empty.
    Folder(PathBuf),
}

/// What to restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Which snapshot.
    pub at: At,
    /// Where to.
    pub destination: Destination,
    /// File with the password of the target's account.
    pub password_file: Option<PathBuf>,
    /// What to restore and what to leave out.
    pub options: Options,
}

/// What was restored. The field names are a promise.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    pub snapshot: String,
    /// The moment of which it shows the data.
    pub time: Zoned,
    /// Time it took.
    pub seconds: f64,
    /// What was done in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Restored>,
    /// Files written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// Restores.
pub fn run(config: &Config, request: &Request, notice: &dyn Fn(&str), cancel: &Cancel) -> Result<Report> {
    let name = format!("{}/{}", request.source, request.item);
    // Wrong arguments should be told before the repository is opened.
    let target = match &request.destination {
        Destination::Database(into) => Some(target(config, request, into)?),
        Destination::Folder(_) => None,
    };
    let begin = std::time::Instant::now();
    let repository = Repository::open(&config.repository)?;
    let _lock = read_lock(&repository, cancel, notice)?;
    let (snapshots, damaged) = repository.readable_snapshots()?;
    damaged.iter().for_each(|error| notice(&format!("warning: {error}")));
    let of_item: Vec<Snapshot> =
        snapshots.iter().filter(|s| s.source == request.source && s.item == request.item).cloned().collect();
    if of_item.is_empty() {
        return Err(unknown_item(&name, &snapshots));
    }
    let snapshot = request.at.choose(&name, &of_item)?;
    let reader = repository.reader()?;
    let files = SnapshotFiles::new(&reader, snapshot);
    let mut report = Report {
        source: request.source.clone(),
        item: request.item.clone(),
        snapshot: snapshot.id.clone(),
        time: snapshot.time.clone(),
        seconds: 0.0,
        database: None,
        files: Vec::new(),
    };
    notice(&format!(
        "restoring {name} from snapshot {} of {}",
        snapshot.short_id(),
        crate::output::time(&snapshot.time)
    ));
    match (&request.destination, target) {
        (Destination::Folder(folder), _) => report.files = to_folder(&files, folder)?,
        (Destination::Database(_), Some(target)) => {
            let manifest = Manifest::from_json(&files.read(MANIFEST)?)?;
            if manifest.kind != target.kind() {
                return Err(Error::usage(format!(
                    "{name} is of kind {}, --into names a database of kind {}",
                    manifest.kind,
                    target.kind()
                )));
            }
            let restored = match &target {
                Target::Postgres { target, clients } => {
                    let roles = roles_at(&reader, &snapshots, snapshot, notice)?;
                    let options = &request.options;
                    postgres::restore::restore(
                        &manifest, &files, &roles, target, clients, options, cancel, notice,
                    )
                }
                Target::Mongodb(target) => {
                    mongodb::restore::restore(&manifest, &files, target, &request.options, cancel, notice)
                }
                Target::Mysql { target, clients } => mysql::restore::restore(
                    &manifest,
                    &files,
                    target,
                    clients,
                    &request.options,
                    cancel,
                    notice,
                ),
            };
            report.database = Some(restored.map_err(|e| e.context(&name))?);
        }
        (Destination::Database(_), None) => return Err(Error::failed("no target")),
    }
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

/// A shared lock, so that nobody prunes what is being read. A storage that can only be read is read without.
pub fn read_lock(
    repository: &Repository,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Option<crate::repository::LockGuard>> {
    let options = LockOptions { exclusive: false, wait: Duration::from_secs(300), cancel, notice };
    match repository.lock(&options) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.summary().contains("cannot write a lock file") => {
            notice(&format!("reading without a lock: {}", error.summary()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn unknown_item(name: &str, snapshots: &[Snapshot]) -> Error {
    let mut names: Vec<String> = snapshots.iter().map(Snapshot::name).collect();
    names.sort();
    names.dedup();
    let nearest = names.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let error = Error::failed(format!("the repository has no snapshot of {name}"));
    match nearest {
        Some(nearest) => {
            error.hint(format!("did you mean {nearest}? `tik-backup snapshots` lists what is stored"))
        }
        None => error.hint("the repository has no snapshots of this program at all"),
    }
}

/// The target database and the tools to reach it with.
enum Target {
    Postgres { target: postgres::restore::Target, clients: postgres::clients::Clients },
    Mysql { target: mysql::restore::Target, clients: mysql::clients::Clients },
    Mongodb(Box<mongodb::restore::Target>),
}

impl Target {
    fn kind(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgres",
            Self::Mysql { .. } => "mysql",
            Self::Mongodb(_) => "mongodb",
        }
    }
}

/// The target that `--into` names: a URL, or a database on the source's own server.
fn target(config: &Config, request: &Request, into: &str) -> Result<Target> {
    let configured = config.source(&request.source).map(|source| &source.kind);
    let mut target = match into.split_once("://") {
        Some((scheme, _)) => by_url(scheme, into, configured)?,
        None => {
            let kind = configured.ok_or_else(|| {
                Error::usage(format!(
                    "--into {into} means a database on the server of the source {}, which is not configured",
                    request.source
                ))
                .hint("write a URL: --into postgresql://user@host/database")
            })?;
            on_own_server(kind, into)?
        }
    };
    if let Some(file) = &request.password_file {
        let password = SecretFile::at("--password-file", file).load()?;
        match &mut target {
            Target::Postgres { target, .. } => target.params.password = Some(password.expose().to_owned()),
            Target::Mongodb(target) => {
                target.params.set_password(Secret::new(password.expose().to_owned()))?;
            }
            Target::Mysql { target, .. } => {
                target.params.password = Some(Secret::new(password.expose().to_owned()).into());
            }
        }
    }
    Ok(target)
}

fn by_url(scheme: &str, url: &str, configured: Option<&SourceKind>) -> Result<Target> {
    match scheme {
        "postgresql" | "postgres" => {
            let dirs = match configured {
                Some(SourceKind::Postgres(postgres)) => &postgres.server.client_dirs[..],
                _ => &[],
            };
            let clients = postgres::clients::Clients::find(dirs);
            Ok(Target::Postgres { target: postgres::restore::parse_url(url)?, clients })
        }
        "mysql" | "mariadb" => {
            let dirs = match configured {
                Some(SourceKind::Mysql(mysql)) => &mysql.server.client_dirs[..],
                _ => &[],
            };
            let clients = mysql::clients::Clients::find(dirs);
            Ok(Target::Mysql { target: mysql::restore::parse_url(url)?, clients })
        }
        "mongodb" | "mongodb+srv" => Ok(Target::Mongodb(Box::new(mongodb::restore::parse_url(url)?))),
        other => Err(Error::usage(format!("--into: a URL of kind {other}:// is not known")).hint(
            "write postgresql://user@host/database, mysql://…, mongodb://…, or a database's name alone",
        )),
    }
}

fn on_own_server(kind: &SourceKind, database: &str) -> Result<Target> {
    let database = database.to_owned();
    Ok(match kind {
        SourceKind::Postgres(server) => Target::Postgres {
            target: postgres::restore::Target {
                params: postgres::params(server)?,
                database,
                maintenance_db: server.maintenance_db.clone(),
            },
            clients: postgres::clients::Clients::find(&server.server.client_dirs),
        },
        SourceKind::Mongodb(server) => {
            let params = mongodb::connect::Params::load(&server.uri_file)?;
            Target::Mongodb(Box::new(mongodb::restore::Target::new(params, database)?))
        }
        SourceKind::Mysql(server) => Target::Mysql {
            target: mysql::restore::Target {
                params: mysql::connect::ConnectParams::configured(&server.server)?,
                database,
            },
            clients: mysql::clients::Clients::find(&server.server.client_dirs),
        },
    })
}

/// The roles of the `@globals` snapshot that was made with this one: the newest up to a day later, else the oldest.
fn roles_at(
    reader: &SnapshotReader,
    snapshots: &[Snapshot],
    item: &Snapshot,
    notice: &dyn Fn(&str),
) -> Result<Vec<Role>> {
    let globals = || snapshots.iter().filter(|s| s.source == item.source && s.item == GLOBALS);
    let limit = item.time.timestamp() + Duration::from_secs(24 * 3600);
    let Some(chosen) = globals().rfind(|s| s.time.timestamp() <= limit).or_else(|| globals().next()) else {
        notice("there is no snapshot of @globals: missing roles cannot be created");
        return Ok(Vec::new());
    };
    let manifest = Manifest::from_json(&SnapshotFiles::new(reader, chosen).read(MANIFEST)?)?;
    Ok(manifest.postgres.map(|detail| detail.roles).unwrap_or_default())
}

/// Writes all files of a snapshot into a folder of ours, readable by nobody else.
fn to_folder(files: &dyn Files, folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |what: &Path, e: &std::io::Error| {
        Error::failed(format!("cannot write {}", what.display())).because(e)
    };
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Error::usage(format!("{} is not empty", folder.display()))
                    .hint("name a folder that does not exist yet"));
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed(folder, &e))?;
        }
        Err(e) => return Err(failed(folder, &e)),
    }
    let mut written = Vec::new();
    for (path, bytes) in files.list()? {
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::failed(format!("the snapshot has a file with an unsafe path: {path}")));
        }
        let target = folder.join(&path);
        if let Some(parent) = target.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|e| failed(parent, &e))?;
        }
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target)
            .map_err(|e| failed(&target, &e))?;
        let copied = files.copy(&path, &mut file)?;
        file.flush().and_then(|()| file.sync_all()).map_err(|e| failed(&target, &e))?;
        if copied != bytes {
            return Err(Error::failed(format!("{path} has {copied} bytes instead of {bytes}")));
        }
        written.push(target);
    }
    if written.is_empty() {
        return Err(Error::failed("the snapshot holds no files"));
    }
    Ok(written)
}
