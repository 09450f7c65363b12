//! `[drill]`: settings of drills.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::{
    document::type_of,
    reader::{Reader, text_fault},
};

/// Parameters that drills set to reach a scratch server and to read its messages.
const OURS: [&str; 15] = [
    "config_file",
    "data_directory",
    "event_triggers",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "lc_messages",
    "listen_addresses",
    "log_destination",
    "log_line_prefix",
    "logging_collector",
    "port",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
];
const GIB: u64 = 1 << 30;
/// Time after which a drill that chooses its items itself starts no further ones.
const MAX_DURATION: Duration = Duration::from_secs(6 * 3600);
/// Size from which only a part of the files is read, if a part is configured.
const SAMPLE_OVER: u64 = 256 * GIB;

/// More processes for one item are of no use: its largest table limits it.
const MOST_PROCESSES: usize = 4;
/// Connections that one scratch server accepts unless it is configured otherwise.
const CONNECTIONS: usize = 100;

/// What happens if a scratch server cannot be confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxRule {
    /// It is not started, and nothing can be proven.
    Required,
    /// It is started, confined as far as possible.
    BestEffort,
}

/// Settings of drills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillConfig {
    /// Directory for scratch servers; absent for the directory of temporary files.
    pub dir: Option<PathBuf>,
    /// Time after which a drill that chooses its items itself starts no further ones.
    pub max_duration: Duration,
    /// How many items are proven at the same time, 1 to 64.
    pub jobs: usize,
    /// Space, in bytes, that must stay free in the directory of scratch servers.
    pub min_free: u64,
    /// Directories that are searched for programs of servers before the usual ones.
    pub server_dirs: Vec<PathBuf>,
    /// `mongod`, or another server that speaks its protocol, if it is not found by that name.
    pub mongod: Option<PathBuf>,
    /// What happens if a scratch server cannot be confined.
    pub sandbox: SandboxRule,
    /// Files and directories that scratch servers may read besides the system's and their own programs.
    pub server_files: Vec<PathBuf>,
    /// Percentage, 1 to 100, of the files that one drill reads of a container, share or directory larger than
    /// `sample_over`.
    pub sample: u8,
    /// Size in bytes; see `sample`.
    pub sample_over: u64,
    /// Parameters of PostgreSQL scratch servers, in addition to those recorded from the source.
    pub postgres_settings: BTreeMap<String, String>,
}

impl Default for DrillConfig {
    fn default() -> Self {
        Self {
            dir: None,
            max_duration: MAX_DURATION,
            jobs: std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4)),
            min_free: GIB,
            server_dirs: Vec::new(),
            mongod: None,
            sandbox: SandboxRule::Required,
            server_files: Vec::new(),
            sample: 100,
            sample_over: SAMPLE_OVER,
            postgres_settings: BTreeMap::new(),
        }
    }
}

impl DrillConfig {
    /// How many processes may restore or read one of `items` at the same time: all items together use about as many as the
    /// machine has processors.
    pub fn processes(&self, items: usize) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let connections = self.postgres_settings.get("max_connections");
        let connections = connections.and_then(|text| text.trim().parse().ok()).unwrap_or(CONNECTIONS);
        processes(cores, self.jobs.min(items), connections)
    }
}

/// The processes of each of the items that are proven at the same time. They use three fifths of a server's connections at most:
/// each item has a session of its own besides, and ended sessions stay for a moment.
fn processes(cores: usize, items: usize, connections: usize) -> usize {
    let items = items.max(1);
    let connected = (connections / 5 * 3 / items).max(1);
    (cores / items).clamp(1, MOST_PROCESSES.min(connected))
}

/// Reads the section.
pub(crate) fn read(mut reader: Reader<'_>) -> DrillConfig {
    let mut drill =
        DrillConfig { dir: reader.path("dir"), mongod: reader.path("mongod"), ..DrillConfig::default() };
    let durations = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);
    if let Some(limit) = reader.duration("max_duration", durations) {
        drill.max_duration = limit;
    }
    if let Some(jobs) = reader.integer("jobs", 1..=64).and_then(|jobs| jobs.try_into().ok()) {
        drill.jobs = jobs;
    }
    if let Some(free) = reader.size("min_free", 0..=u64::MAX) {
        drill.min_free = free;
    }
    drill.server_dirs = reader.paths("server_dirs");
    drill.server_files = reader.paths("server_files");
    let rules = [("required", SandboxRule::Required), ("best-effort", SandboxRule::BestEffort)];
    if let Some(rule) = reader.choice("sandbox", &rules) {
        drill.sandbox = rule;
    }
    if let Some(percent) = reader.integer("sample", 1..=100).and_then(|percent| percent.try_into().ok()) {
        drill.sample = percent;
    }
    if let Some(size) = reader.size("sample_over", 0..=u64::MAX) {
        drill.sample_over = size;
    }
    let mut postgres = reader.table("postgres");
    let settings = postgres.table("settings");
    for (name, _, value) in settings.entries() {
        read_setting(&settings, name, name, value, &mut drill.postgres_settings);
    }
    postgres.finish();
    reader.finish();
    drill
}

/// Reads a setting, or the settings of an extension: `pgaudit.log = "none"` without quotes is a table `pgaudit`. Problems are
/// noted at `key`, which is in the file.
fn read_setting(
    reader: &Reader<'_>,
    key: &str,
    name: &str,
    value: &DeValue<'_>,
    settings: &mut BTreeMap<String, String>,
) {
    if let Some(table) = value.as_table() {
        for (inner, value) in table.iter() {
            let whole = format!("{name}.{}", inner.get_ref());
            read_setting(reader, key, &whole, value.get_ref(), settings);
        }
        return;
    }
    let text = value.as_str().map(str::to_owned);
    let text = text.or_else(|| value.as_integer().map(ToString::to_string));
    let text = text.or_else(|| value.as_float().map(ToString::to_string));
    let text = text.or_else(|| value.as_bool().map(|on| if on { "on" } else { "off" }.to_owned()));
    let lower = name.to_ascii_lowercase();
    match text {
        _ if !is_parameter(name) => reader.problem(key, "is not the name of a parameter of PostgreSQL"),
        _ if OURS.contains(&lower.as_str()) => {
            reader.problem(key, &format!("{name} cannot be set: drills need it as it is"));
        }
        None => {
            reader.problem(key, &format!("must be a string, a number, true or false, not {}", type_of(value)))
        }
        // An empty value is valid: no libraries, for example.
        Some(text) if !text.is_empty() && text_fault(&text).is_some() => {
            reader.problem(key, text_fault(&text).unwrap_or_default());
        }
        Some(text) => {
            settings.insert(lower, text);
        }
    }
}

/// Whether a parameter can have this name: words of letters, digits, `_` and `$`, with dots between them.
fn is_parameter(name: &str) -> bool {
    name.split('.').all(|word| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_share_the_processors() {
        let of = |cores, items| processes(cores, items, CONNECTIONS);
        assert_eq!([of(1, 1), of(2, 1), of(4, 2), of(8, 0), of(64, 1)], [1, 2, 2, 4, 4]);
        assert_eq!([of(2, 4), of(128, 30), of(256, 64)], [1, 2, 1]);
        let few = |connections| processes(16, 2, connections);
        assert_eq!([few(100), few(10), few(5), few(0)], [4, 3, 1, 1]);
    }
}
