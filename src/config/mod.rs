//! The configuration: finding the file, reading it, and reporting everything that is wrong with it.
//!
//! `docs/configuration.md` describes every key.

mod alert_files;
mod alerts;
mod anomalies;
mod dashboard;
mod runbook;
mod schema;
mod systemd;
#[cfg(test)]
mod tests;
mod validate;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) use alert_files::{load_topic, load_url, url_fault};
pub use alerts::{
    AlertConfig, AlertKind, EmailConfig, HeartbeatConfig, NtfyConfig, SmtpTls, Topic, WebhookConfig,
    WebhookFormat,
};
pub use anomalies::AnomalyRules;
pub use dashboard::{DashboardConfig, Listen};
pub use runbook::{Contact, RunbookConfig};
pub use systemd::SystemdConfig;

use crate::{
    calendar::Calendar,
    error::{Error, Result},
    fs::owner,
    settings::{
        DrillConfig, RepositoryLocation, SecretFile, SourceName, SourceSettings,
        document::{Document, join_key},
        secret,
    },
    source::{KindConfig, Source},
};

/// The example that the Debian package installs.
const EXAMPLE: &str = "/usr/share/doc/tik-backup/examples/config.toml";
/// Default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/tik-backup/config.toml";
/// The systemd credential with the configuration. With it, services run and send alerts even if only root can read the
/// file.
pub(crate) const CREDENTIAL: &str = "configuration";
/// The environment variable that names another configuration file.
pub const PATH_VARIABLE: &str = "TIK_BACKUP_CONFIG";

/// The whole configuration, checked; every path in it is absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, absolute.
    pub path: PathBuf,
    /// Directory of the history and of spooled alerts.
    pub state_dir: PathBuf,
    /// How many items are backed up at the same time, 1 to 64.
    pub jobs: usize,
    /// The repository.
    pub repository: RepositoryConfig,
    /// The configured host, if a command works on another one: `repository.host` is then the other one.
    pub own_host: Option<String>,
    /// The default retention; a source may override it.
    pub retention: Retention,
    /// Maximum age of an item's newest snapshot, unless its source or its schedule sets another.
    pub max_age: Option<Duration>,
    /// Maximum age of an item's last proof, unless its source sets another; absent for no limit.
    pub max_proof_age: Option<Duration>,
    /// Time between reminders of a problem that lasts.
    pub remind_every: Duration,
    /// Settings of drills.
    pub drill: DrillConfig,
    /// Settings of the systemd units.
    pub systemd: SystemdConfig,
    /// Settings of the dashboard, if it is configured.
    pub dashboard: Option<DashboardConfig>,
    /// Information for the runbook that the program cannot find out.
    pub runbook: RunbookConfig,
    /// The channels of alerts.
    pub alerts: Vec<AlertConfig>,
    /// The sources in the order of the file. May be empty: a repository can be inspected without any.
    pub sources: Vec<SourceConfig>,
}

/// Settings of the repository.
#[derive(Debug, Clone)]
pub struct RepositoryConfig {
    /// Path or URL of the repository.
    pub location: RepositoryLocation,
    /// File with the repository's password.
    pub password_file: SecretFile,
    /// A directory on which a filesystem must be mounted.
    pub mount: Option<PathBuf>,
    /// The host written into snapshots.
    pub host: String,
    /// zstd level, -7 to 22.
    pub compression: i32,
    /// Whether each pack is read again, past the page cache, before it counts as stored.
    pub verify_writes: bool,
    /// Free space, in bytes, below which no run starts.
    pub min_free: u64,
    /// How long to wait for a lock of another process.
    pub lock_wait: Duration,
    /// How long operations are retried while the storage does not answer.
    pub retry_for: Duration,
    /// Whether copies of small files are kept in `state_dir`; if absent, this depends on the storage.
    pub cache: Option<bool>,
    /// Size of pack files, in bytes, 4 MiB to 128 MiB.
    pub pack_size: u64,
    /// Options of the storage backend.
    pub options: BTreeMap<String, String>,
    /// Options of the storage backend whose values are secret; no name stands in `options` too.
    pub options_files: BTreeMap<String, SecretFile>,
}

/// The retention policy of an item: a snapshot is kept if any rule keeps it. At least one rule is not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Keep all snapshots younger than this, counted back from the newest; zero turns the rule off.
    pub keep_within: Duration,
    /// Keep this number of newest snapshots.
    pub keep_last: u32,
    /// Keep the newest snapshot of each hour, for this number of hours.
    pub keep_hourly: u32,
    /// Keep the newest snapshot of each day, for this number of days.
    pub keep_daily: u32,
    /// Keep the newest snapshot of each week, for this number of weeks.
    pub keep_weekly: u32,
    /// Keep the newest snapshot of each month, for this number of months.
    pub keep_monthly: u32,
    /// Keep the newest snapshot of each year, for this number of years.
    pub keep_yearly: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_within: KEEP_WITHIN,
            keep_last: 0,
            keep_hourly: 0,
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 0,
            keep_yearly: 0,
        }
    }
}

/// With the default, a second run on the same day does not remove the snapshot of the night before it.
const KEEP_WITHIN: Duration = Duration::from_secs(48 * 3600);

impl Retention {
    /// `keep_within` in its largest whole unit, such as `48 h` or `30 days`, unless the rule is off.
    pub fn period(&self) -> Option<String> {
        let seconds = self.keep_within.as_secs();
        Some(match seconds {
            0 => return None,
            s if s.is_multiple_of(86_400) && s > 2 * 86_400 => format!("{} days", s / 86_400),
            s if s.is_multiple_of(3600) => format!("{} h", s / 3600),
            s if s.is_multiple_of(60) => format!("{} min", s / 60),
            s => format!("{s} s"),
        })
    }

    /// Whether no rule keeps a number of snapshots, so that nothing older than `keep_within` would be kept.
    pub fn is_empty(&self) -> bool {
        let Self {
            keep_within: _,
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
        } = self;
        [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly].iter().all(|n| **n == 0)
    }
}

/// A source: a server, tenant or list of directories whose items are backed up.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its name, unique in the configuration.
    pub name: SourceName,
    /// Its schedule, a systemd calendar expression.
    pub schedule: Option<Calendar>,
    /// Maximum age of an item's newest snapshot, if it does not follow from the schedule.
    pub max_age: Option<Duration>,
    /// Maximum age of an item's last proof; absent for no limit.
    pub max_proof_age: Option<Duration>,
    /// Thresholds of suspicious changes.
    pub anomalies: AnomalyRules,
    /// Retention of its items: the source's own rules override the general ones.
    pub retention: Retention,
    /// Number of its items backed up at the same time, if lower than the general number.
    pub jobs: Option<usize>,
    /// How long a stream may be idle before its item fails.
    pub idle_timeout: Duration,
    /// The settings of its kind.
    pub kind: Arc<dyn KindConfig>,
}

impl SourceConfig {
    /// Opens the source, which reads the files with its secrets.
    ///
    /// # Errors
    /// Exit code 2: a file cannot be used, or its content is not valid.
    pub fn open(&self) -> Result<Box<dyn Source>> {
        self.kind.open(&SourceSettings { name: self.name.clone(), idle_timeout: self.idle_timeout })
    }

    /// All files with secrets that it names.
    pub fn secret_files(&self) -> Vec<&SecretFile> {
        self.kind.secret_files()
    }

    /// The full name of one of its keys.
    fn key_path(&self, key: &str) -> String {
        join_key(&join_key("sources", self.name.as_str()), key)
    }
}

impl Config {
    /// Reads the configuration from `path`, or else from the file that `$TIK_BACKUP_CONFIG` names, or else from
    /// [`DEFAULT_PATH`]. Secrets are not read.
    ///
    /// # Errors
    /// Exit code 2: there is no such file, it cannot be read, or as for [`Config::parse`].
    pub fn load(path: Option<&Path>) -> Result<Self> {
        Self::load_from(choose_path(path, env::var_os(PATH_VARIABLE)))
    }

    fn load_from((path, origin): (PathBuf, Origin)) -> Result<Self> {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => secret::credential_instead(&error, CREDENTIAL)
                .ok_or_else(|| unreadable(&path, origin, &error))?,
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Error::usage(format!("{}:{line}: not UTF-8 text", path.display()))
                .hint("save the file in the encoding UTF-8")
        })?;
        Self::parse(&text, &path)
    }

    /// Reads a configuration text. `path` is its file in messages, and relative paths start from its directory.
    ///
    /// # Errors
    /// Exit code 2 with all problems, one line each: file, line, key, and the accepted values.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path).map_err(|error| {
            Error::usage(format!("{}: cannot make the path absolute", path.display())).because(&error)
        })?;
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let document = Document::new(text, path, folder);
        let config = schema::read(&document, absolute);
        document.finish(config)
    }

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&SourceConfig> {
        self.sources.iter().find(|source| source.name.as_str() == name)
    }
}

/// Where the path of the configuration file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Argument,
    Variable,
    Default,
}

fn choose_path(argument: Option<&Path>, variable: Option<OsString>) -> (PathBuf, Origin) {
    match (argument, variable.filter(|value| !value.is_empty())) {
        (Some(path), _) => (path.to_owned(), Origin::Argument),
        (None, Some(path)) => (path.into(), Origin::Variable),
        (None, None) => (DEFAULT_PATH.into(), Origin::Default),
    }
}

fn unreadable(path: &Path, origin: Origin, error: &io::Error) -> Error {
    let named_by = match origin {
        Origin::Argument => "named by --config",
        Origin::Variable => "named by $TIK_BACKUP_CONFIG",
        Origin::Default => "the default",
    };
    let shown = path.display();
    let other = "name another file with --config FILE or in $TIK_BACKUP_CONFIG";
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("there is no configuration file {shown} ({named_by})");
        let example = Path::new(EXAMPLE);
        let create = if example.exists() {
            format!("create it, for example from {EXAMPLE}")
        } else {
            "create it".to_owned()
        };
        return Error::usage(message).hint(format!("{create}, or {other}"));
    }
    let message = format!("the configuration file {shown} ({named_by}) cannot be read");
    let hint = owner::reading_hint(path, error).unwrap_or_else(|| "name the file itself".to_owned());
    Error::usage(message).because(error).hint(format!("{hint}, or {other}"))
}
