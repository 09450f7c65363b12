//! Reads the sections of the configuration. The keys of a source are read by its kind, see [`crate::source::Kind`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeValue;

use super::{
    AnomalyRules, Config, RepositoryConfig, Retention, SourceConfig, alerts, anomalies, dashboard, runbook,
    systemd,
};
use crate::{
    calendar::Calendar,
    settings::{
        IDLE_TIMEOUT, RepositoryLocation, SecretFile, SourceName,
        document::{Document, in_file_order, type_of},
        drill, location,
        reader::{Reader, text_fault},
        suggest::{is_secret_option, nearest},
    },
    source::{KINDS, OwnPlaces, kind_by_other_name, kind_named},
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MAX_JOBS: usize = 64;
const JOBS: std::ops::RangeInclusive<i64> = 1..=MAX_JOBS as i64;
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
const MAX_KEEP: i64 = 1_000_000;
/// Bounds of ages and of the time between reminders.
const AGES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(10 * 365 * 86_400);
/// With one drill a week, one drill may be missed.
const MAX_PROOF_AGE: Duration = Duration::from_secs(15 * 86_400);
const REMIND_EVERY: Duration = Duration::from_secs(86_400);

/// Reads the whole configuration; problems are left in the document. `None` if a part is missing.
pub(super) fn read(document: &Document<'_>, path: PathBuf) -> Option<Config> {
    let table = document.parse()?;
    let mut root = Reader::root(document, table.get_ref());
    let state_dir = root.path("state_dir").unwrap_or_else(|| "/var/lib/tik-backup".into());
    let jobs = read_jobs(&mut root).unwrap_or_else(cores);
    let repository = root.table("repository");
    if !root.has("repository") {
        root.problem("repository", "missing: a section [repository] with location and password_file");
    }
    let repository = read_repository(repository);
    let retention = read_retention(root.table("retention"), None);
    let (max_age, max_proof_age) = read_ages(&mut root);
    let max_proof_age = max_proof_age.unwrap_or(Some(MAX_PROOF_AGE));
    let remind_every = root.duration("remind_every", AGES).unwrap_or(REMIND_EVERY);
    let anomalies = anomalies::read(root.table("anomalies"), None);
    let base = Base {
        retention: &retention,
        anomalies: &anomalies,
        max_age,
        max_proof_age,
        own: OwnPlaces {
            repository: repository.as_ref().map(|repository| &repository.location),
            state_dir: &state_dir,
        },
    };
    let sources = read_sources(&mut root, &base);
    let drill = drill::read(root.table("drill"));
    let systemd = systemd::read(root.table("systemd"));
    let dashboard = dashboard::read(root.table("dashboard"));
    let runbook = runbook::read(root.table("runbook"), &sources);
    let alerts = alerts::read(&mut root);
    root.finish();
    Some(Config {
        path,
        state_dir,
        jobs,
        repository: repository?,
        own_host: None,
        retention,
        max_age,
        max_proof_age,
        remind_every,
        drill,
        systemd,
        dashboard,
        runbook,
        alerts,
        sources,
    })
}

fn read_jobs(reader: &mut Reader<'_>) -> Option<usize> {
    reader.integer("jobs", JOBS).and_then(|jobs| jobs.try_into().ok())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_JOBS))
}

fn read_repository(mut reader: Reader<'_>) -> Option<RepositoryConfig> {
    let location = read_location(&mut reader);
    let password_file = reader.secret_file("password_file");
    reader.missing("password_file", "the path of a file that holds the repository's password");
    let mount = reader.string("mount").map(PathBuf::from);
    if mount.as_ref().is_some_and(|mount| mount.is_relative()) {
        reader.problem("mount", "must be an absolute path");
    } else if let Some(mount) = &mount {
        check_mount(&reader, mount, location.as_ref());
    }
    let host = reader.string("host").unwrap_or_else(host_name);
    let compression =
        reader.integer("compression", -7..=22).and_then(|level| level.try_into().ok()).unwrap_or(1);
    let verify_writes = reader.boolean("verify_writes", false);
    let min_free = reader.size("min_free", 0..=u64::MAX).unwrap_or(GIB);
    let lock_wait = reader
        .duration("lock_wait", Duration::ZERO..=Duration::from_secs(24 * 3600))
        .unwrap_or(Duration::from_secs(30 * 60));
    let retry_for = reader
        .duration("retry_for", Duration::ZERO..=Duration::from_secs(24 * 3600))
        .unwrap_or(Duration::from_secs(15 * 60));
    let (has_cache, cache) = (reader.has("cache"), reader.boolean("cache", false));
    let pack_size = reader.size("pack_size", 4 * MIB..=128 * MIB).unwrap_or(16 * MIB);
    let options = read_options(&reader.table("options"));
    let options_files = read_options_files(&reader.table("options_files"), &options);
    reader.finish();
    Some(RepositoryConfig {
        location: location?,
        password_file: password_file?,
        mount,
        host,
        compression,
        verify_writes,
        min_free,
        lock_wait,
        retry_for,
        cache: has_cache.then_some(cache),
        pack_size,
        options,
        options_files,
    })
}

/// The mount point must not be `/`, and the repository must lie below it.
fn check_mount(reader: &Reader<'_>, mount: &Path, location: Option<&RepositoryLocation>) {
    let folder = location::plain(mount);
    if folder == Path::new("/") {
        let what = "/ is always mounted, so this protects nothing: name the mount point of the storage, or leave the key out";
        return reader.problem("mount", what);
    }
    let Some(RepositoryLocation::Given(text)) = location else { return };
    let Some(path) = location::path_in(text) else { return };
    let resolved = || Some(path.canonicalize().ok()?.starts_with(mount.canonicalize().ok()?));
    let below = location::plain(path).starts_with(&folder);
    // Where both exist, symbolic links are followed.
    if !resolved().unwrap_or(below) {
        let what = format!(
            "`location` {} is not below {}: name the mount point of the storage that holds the repository",
            path.display(),
            mount.display()
        );
        reader.problem("mount", &what);
    }
}

fn read_location(reader: &mut Reader<'_>) -> Option<RepositoryLocation> {
    let folder = reader.document.folder();
    let text = reader.string("location");
    let file = reader.secret_file("location_file");
    match (reader.has("location"), reader.has("location_file")) {
        (true, true) => reader.problem("location_file", "give either location or location_file, not both"),
        (false, false) => reader
            .missing("location", "a path or URL, or location_file with the path of a file that holds it"),
        _ => {}
    }
    if let Some(file) = file {
        return Some(RepositoryLocation::File { file, folder: folder.to_owned() });
    }
    let text = text?;
    if location::has_password(&text) {
        let what = "the URL holds a password: give that in options_files, \
                    or put the whole URL into a file and name it in location_file";
        reader.problem("location", what);
        return None;
    }
    match location::resolve(&text, folder) {
        Ok(text) => Some(RepositoryLocation::Given(text)),
        Err(fault) => {
            reader.problem("location", &fault);
            None
        }
    }
}

fn read_options(reader: &Reader<'_>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for (key, _, value) in reader.entries() {
        match value.as_str() {
            _ if is_secret_option(key) => {
                let what = "a secret must not be in the configuration: \
                            put it into a file and name that file under this key in [repository.options_files]";
                reader.problem(key, what);
            }
            Some(text) => {
                options.insert(key.to_owned(), text.to_owned());
            }
            None => reader.problem(key, &format!("must be a string, not {}", type_of(value))),
        }
    }
    options
}

fn read_options_files(
    reader: &Reader<'_>,
    options: &BTreeMap<String, String>,
) -> BTreeMap<String, SecretFile> {
    let mut files = BTreeMap::new();
    for (key, _, value) in reader.entries() {
        if options.contains_key(key) {
            reader.problem(key, "is in [repository.options] too; keep one of them");
        }
        let Some(text) = value.as_str() else {
            reader.problem(key, &format!("must be a string with a path, not {}", type_of(value)));
            continue;
        };
        let file = match text_fault(text) {
            Some(fault) => Err(fault.to_owned()),
            None => SecretFile::from_value(reader.key_path(key), text, reader.document.folder()),
        };
        match file {
            Ok(file) => {
                files.insert(key.to_owned(), file);
            }
            Err(fault) => reader.problem(key, &fault),
        }
    }
    files
}

/// Reads a retention table; missing keys are taken from `base`, or from the defaults.
fn read_retention(mut reader: Reader<'_>, base: Option<&Retention>) -> Retention {
    let mut rule = base.cloned().unwrap_or_default();
    for (key, field) in [
        ("keep_last", &mut rule.keep_last),
        ("keep_hourly", &mut rule.keep_hourly),
        ("keep_daily", &mut rule.keep_daily),
        ("keep_weekly", &mut rule.keep_weekly),
        ("keep_monthly", &mut rule.keep_monthly),
        ("keep_yearly", &mut rule.keep_yearly),
    ] {
        if let Some(number) = reader.integer(key, 0..=MAX_KEEP).and_then(|number| number.try_into().ok()) {
            *field = number;
        }
    }
    let longest = Duration::from_secs(100 * 365 * 86_400);
    let within = reader.duration("keep_within", Duration::ZERO..=longest);
    if let Some(within) = within {
        rule.keep_within = within;
    }
    // It may be the only rule only if it is configured: the default would keep just two days of snapshots.
    let chosen = within.is_some() || base.is_some_and(Retention::is_empty);
    if reader.is_present() && rule.is_empty() && (!chosen || rule.keep_within.is_zero()) {
        reader.table_problem("all values are 0, so that every snapshot would be removed; keep at least one");
    }
    reader.finish();
    rule
}

/// Defaults that a source inherits, and directories that are never backed up.
struct Base<'a> {
    retention: &'a Retention,
    anomalies: &'a AnomalyRules,
    max_age: Option<Duration>,
    max_proof_age: Option<Duration>,
    own: OwnPlaces<'a>,
}

/// Reads `max_age` and `max_proof_age`, which may also be "never".
fn read_ages(reader: &mut Reader<'_>) -> (Option<Duration>, Option<Option<Duration>>) {
    let max_age = reader.duration("max_age", AGES);
    let never = reader.is_text("max_proof_age", "never");
    if never {
        // Read, so that the key is not reported as unknown.
        reader.string("max_proof_age");
        return (max_age, Some(None));
    }
    (max_age, reader.duration("max_proof_age", AGES).map(Some))
}

fn read_schedule(reader: &mut Reader<'_>) -> Option<Calendar> {
    let text = reader.string("schedule")?;
    text.parse().map_err(|fault: String| reader.problem("schedule", &fault)).ok()
}

fn read_sources(root: &mut Reader<'_>, base: &Base<'_>) -> Vec<SourceConfig> {
    let table = root.table("sources");
    let mut sources = Vec::new();
    for (name, start, value) in table.entries() {
        let reader = table.inner(name, start, value);
        let name = name.parse().map_err(|fault: String| reader.table_problem(&fault)).ok();
        sources.extend(read_source(reader, name, base));
    }
    sources
}

fn read_source(mut reader: Reader<'_>, name: Option<SourceName>, base: &Base<'_>) -> Option<SourceConfig> {
    let kind = reader.string("kind");
    match reader.entries().iter().find_map(|(inner, _, value)| dotted(inner, value)) {
        Some(inner) if kind.is_none() => {
            let quoted = format!("{}.{inner}", reader.own_name());
            reader.table_problem(&format!("a name with a dot needs quotes: [sources.{quoted:?}]"));
        }
        _ => reader.missing("kind", &format!("the kind of source, one of: {}", kinds())),
    }
    let schedule = read_schedule(&mut reader);
    let retention = read_retention(reader.table("retention"), Some(base.retention));
    let anomalies = anomalies::read(reader.table("anomalies"), Some(base.anomalies));
    let (max_age, max_proof_age) = read_ages(&mut reader);
    let jobs = read_jobs(&mut reader);
    let least = Duration::from_secs(1);
    let idle_timeout = reader.duration("idle_timeout", least..=MAX_IDLE_TIMEOUT).unwrap_or(IDLE_TIMEOUT);
    let kind = kind?;
    let Some(found) = kind_named(&kind) else {
        // The other keys cannot be checked: the valid ones depend on the kind.
        let near = nearest(&kind, KINDS.iter().map(|kind| kind.name()));
        let meant = match (near, kind_by_other_name(&kind)) {
            (Some(near), _) => format!("; did you mean {near:?}?"),
            (None, Some(other)) => format!("; {other}"),
            (None, None) => String::new(),
        };
        let what = format!("unknown source kind {kind:?}; the kinds are: {}{meant}", kinds());
        reader.problem("kind", &what);
        return None;
    };
    let kind = found.read_config(&mut reader, &base.own);
    reader.finish();
    Some(SourceConfig {
        name: name?,
        schedule,
        max_age: max_age.or(base.max_age),
        max_proof_age: max_proof_age.unwrap_or(base.max_proof_age),
        anomalies,
        retention,
        jobs,
        idle_timeout,
        kind: kind?,
    })
}

/// The path from a table down to the nested table that has a kind: `[sources.db.example.org]` is three nested tables.
fn dotted(name: &str, value: &DeValue<'_>) -> Option<String> {
    let table = value.as_table()?;
    if table.contains_key("kind") {
        return Some(name.to_owned());
    }
    in_file_order(table)
        .into_iter()
        .find_map(|(inner, _, value)| dotted(inner, value.get_ref()))
        .map(|rest| format!("{name}.{rest}"))
}

fn kinds() -> String {
    KINDS.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// The host name that is written into snapshots.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}
