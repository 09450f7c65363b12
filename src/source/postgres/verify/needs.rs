//! The settings of a scratch server that make it like the source: libraries, their parameters, locks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    source::{
        manifest::Manifest,
        postgres::{Detail, clients::Client},
    },
    stream::child::{Command, run_capture},
};

/// Libraries that must be loaded before their extensions can be created, even if the manifest does not list them.
const OF_EXTENSIONS: [(&str, &str); 4] =
    [("citus", "citus"), ("pg_cron", "pg_cron"), ("pgaudit", "pgaudit"), ("timescaledb", "timescaledb")];
/// Libraries that are not loaded even if the source loads them: they refuse statements or sessions, need keys or a security
/// module, or run background work. No dump needs them.
const NEVER: [&str; 11] = [
    "auth_delay",
    "auto_explain",
    "basic_archive",
    "credcheck",
    "passwordcheck",
    "pg_partman_bgw",
    "pg_prewarm",
    "pgsodium",
    "sepgsql",
    "set_user",
    "supautils",
];
/// The default of `max_connections`: each connection adds room for `max_locks_per_transaction` locks.
const CONNECTIONS: u64 = 100;
/// Minimum number of locks for each database that is proven at the same time.
const LOCKS: u64 = 1024;
/// Maximum number of locks, at about 300 bytes each: it bounds the memory that a manifest can make a server use.
const MOST_LOCKS: u64 = 8 << 20;
/// The default of `max_locks_per_transaction`.
const LOCKS_OF_CONNECTION: u64 = 64;

/// The required settings of a server. Items with the same needs share a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Needs {
    /// Libraries for `shared_preload_libraries` and for `session_preload_libraries`, in the order of the source.
    shared: Vec<String>,
    session: Vec<String>,
    parameters: BTreeMap<String, String>,
    /// Locks of all sessions together, and for each connection at the source.
    locks: u64,
    locks_of_connection: u64,
}

impl Needs {
    /// The needs of an item; `jobs` items are proven at the same time.
    pub(super) fn of(manifest: &Manifest, jobs: usize) -> Self {
        let nothing = Detail::default();
        let detail = manifest.detail::<Detail>().unwrap_or(&nothing);
        let value = |name: &str| {
            let setting = detail.server_settings.iter().find(|setting| setting.name == name);
            setting.and_then(|setting| setting.value.as_deref())
        };
        let mut shared = libraries(value("shared_preload_libraries").unwrap_or_default());
        let has = |extension: &str| detail.extensions.iter().any(|found| found.name == extension);
        for (extension, library) in OF_EXTENSIONS {
            if has(extension) && !shared.iter().any(|found| found == library) {
                shared.push(library.to_owned());
            }
        }
        let mut parameters = BTreeMap::new();
        if shared.iter().any(|library| library == "pg_cron") {
            // The extension can be created in this database only.
            let database =
                if has("pg_cron") { Some(manifest.item.as_str()) } else { value("cron.database_name") };
            parameters.extend(database.map(|name| ("cron.database_name".to_owned(), name.to_owned())));
        }
        if let Some(license) = value("timescaledb.license")
            && shared.iter().any(|library| library == "timescaledb")
        {
            parameters.insert("timescaledb.license".to_owned(), license.to_owned());
        }
        // Recorded once for the server; a database may have its own.
        let of_database = detail.database.iter().flat_map(|database| &database.settings);
        let of_database = of_database
            .filter(|setting| setting.role.is_none() && setting.name == "session_preload_libraries")
            .map(|setting| setting.value.as_str())
            .next();
        let recorded = value("max_locks_per_transaction").and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            session: libraries(
                of_database.or_else(|| value("session_preload_libraries")).unwrap_or_default(),
            ),
            shared,
            parameters,
            locks: locks(detail, manifest.objects.len(), jobs),
            locks_of_connection: LOCKS_OF_CONNECTION.max(recorded),
        }
    }

    /// A key that is equal for items that can share a server.
    pub(super) fn key(&self) -> String {
        format!("{self:?}")
    }

    /// The settings for a server of this installation, without the libraries that it lacks, which are returned as well.
    /// The configured settings come last.
    pub(super) fn settings(
        &self,
        client: &Client,
        configured: &BTreeMap<String, String>,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let mut settings = self.parameters.clone();
        let mut lacking = Vec::new();
        let folders =
            if self.shared.is_empty() && self.session.is_empty() { Vec::new() } else { folders(client) };
        for (name, wanted) in
            [("shared_preload_libraries", &self.shared), ("session_preload_libraries", &self.session)]
        {
            let (there, not): (Vec<&String>, Vec<&String>) =
                wanted.iter().partition(|library| is_installed(&folders, library));
            lacking.extend(not.into_iter().cloned());
            if !there.is_empty() {
                let list: Vec<&str> = there.into_iter().map(String::as_str).collect();
                settings.insert(name.to_owned(), list.join(","));
            }
        }
        let connections =
            configured.get("max_connections").and_then(|text| text.parse().ok()).unwrap_or(CONNECTIONS);
        let locks = self.locks.div_ceil(connections.max(1)) + LOCKS_OF_CONNECTION;
        let locks = locks.max(self.locks_of_connection.min(MOST_LOCKS / connections.max(1)));
        settings.insert("max_locks_per_transaction".to_owned(), locks.to_string());
        settings.extend(configured.iter().map(|(name, value)| (name.clone(), value.clone())));
        if settings.contains_key("shared_preload_libraries") {
            // Extensions must not run background work: without room for a worker, no scheduler starts that would run the
            // source's jobs.
            settings.entry("max_worker_processes".to_owned()).or_insert_with(|| "0".to_owned());
        }
        (settings, lacking)
    }
}

/// Locks of all sessions together: a dump holds one for each table, view and sequence until it ends, a restore fewer. Rounded, so
/// that most databases need the same.
fn locks(detail: &Detail, tables: usize, jobs: usize) -> u64 {
    let objects = detail.schema_objects.len().max(tables) as u64;
    let each = objects.saturating_mul(2).checked_next_power_of_two().unwrap_or(MOST_LOCKS).max(LOCKS);
    each.saturating_mul(jobs as u64).min(MOST_LOCKS)
}

/// The libraries of a list that may be loaded. A name with a path is specific to its machine.
fn libraries(list: &str) -> Vec<String> {
    let names = list.split(',').map(|name| {
        let name = name.trim().trim_matches('"');
        let name = name.strip_prefix("$libdir/").unwrap_or(name);
        name.strip_suffix(".so").unwrap_or(name)
    });
    let plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    names.filter(plain).filter(|name| !NEVER.contains(name)).map(str::to_owned).collect()
}

/// The library directories of an installation.
fn folders(client: &Client) -> Vec<PathBuf> {
    let mut folders = vec![client.dir.join("../lib"), client.dir.join("../lib/postgresql")];
    let asked = run_capture(Command::new(client.tool("pg_config")).arg("--pkglibdir"), 4096).ok();
    if let Some(text) = asked.and_then(|answer| String::from_utf8(answer).ok()) {
        folders.insert(0, PathBuf::from(text.trim()));
    }
    folders
}

fn is_installed(folders: &[PathBuf], library: &str) -> bool {
    let file = |folder: &Path, end: &str| folder.join(format!("{library}.{end}")).is_file();
    folders.iter().any(|folder| file(folder, "so") || file(folder, "dylib"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::postgres::{Extension, ServerSetting};

    fn manifest(settings: &[(&str, &str)], extensions: &[&str]) -> Manifest {
        let mut manifest = Manifest::begin("pg", "shop", "postgres");
        manifest.set_detail(Detail {
            server_settings: settings
                .iter()
                .map(|(name, value)| ServerSetting {
                    name: (*name).to_owned(),
                    value: Some((*value).to_owned()),
                })
                .collect(),
            extensions: extensions
                .iter()
                .map(|name| Extension { name: (*name).to_owned(), version: "1".to_owned() })
                .collect(),
            ..Detail::default()
        });
        manifest
    }

    #[test]
    fn a_server_is_prepared_as_the_source_was() {
        let source = [
            ("shared_preload_libraries", "pg_cron, $libdir/pgaudit.so,passwordcheck, /opt/own.so"),
            ("cron.database_name", "jobs"),
        ];
        let needs = Needs::of(&manifest(&source, &[]), 2);
        assert_eq!(needs.shared, ["pg_cron", "pgaudit"]);
        assert_eq!(needs.parameters["cron.database_name"], "jobs");
        let needs = Needs::of(&manifest(&source, &["pg_cron"]), 2);
        assert_eq!(needs.parameters["cron.database_name"], "shop", "it is there");
        // An account that may not see what is loaded.
        assert_eq!(Needs::of(&manifest(&[], &["pgaudit"]), 1).shared, ["pgaudit"]);
        assert_eq!(Needs::of(&manifest(&[], &[]), 1).shared, [""; 0]);
    }

    #[test]
    fn libraries_are_loaded_if_they_are_installed_and_do_nothing_on_their_own() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["bin", "lib"] {
            std::fs::create_dir(root.path().join(dir)).unwrap();
        }
        std::fs::write(root.path().join("lib/pgaudit.so"), "").unwrap();
        let client = Client { dir: root.path().join("bin"), major: 15, version_text: "15.3".to_owned() };
        let source =
            [("shared_preload_libraries", "pgaudit,pg_cron"), ("session_preload_libraries", "other")];
        let needs = Needs::of(&manifest(&source, &[]), 1);
        let mut configured = BTreeMap::new();
        let (settings, lacking) = needs.settings(&client, &configured);
        assert_eq!(settings["shared_preload_libraries"], "pgaudit");
        assert_eq!(settings["max_worker_processes"], "0");
        assert!(!settings.contains_key("session_preload_libraries"));
        assert_eq!(lacking, ["pg_cron", "other"]);
        configured.insert("shared_preload_libraries".to_owned(), "own".to_owned());
        configured.insert("max_worker_processes".to_owned(), "4".to_owned());
        let (settings, _) = needs.settings(&client, &configured);
        assert_eq!(
            (&*settings["shared_preload_libraries"], &*settings["max_worker_processes"]),
            ("own", "4")
        );
    }

    #[test]
    fn locks_grow_with_the_database_in_steps() {
        let of = |tables: usize, jobs| locks(&Detail::default(), tables, jobs);
        assert!(of(15_000, 1) > 15_000 && of(15_000, 4) > 4 * 15_000);
        assert_eq!(of(3, 1), of(500, 1));
        assert_eq!(of(usize::MAX, 64), MOST_LOCKS);
        let recorded = Needs::of(&manifest(&[("max_locks_per_transaction", "2000")], &[]), 1);
        let client =
            Client { dir: PathBuf::from("/nonexistent"), major: 15, version_text: "15.3".to_owned() };
        let mut configured = BTreeMap::new();
        let of = |needs: &Needs, configured: &BTreeMap<String, String>| {
            needs.settings(&client, configured).0["max_locks_per_transaction"].clone()
        };
        assert_eq!(of(&recorded, &configured), "2000");
        assert_eq!(of(&Needs::of(&manifest(&[], &[]), 1), &configured), "75");
        configured.insert("max_connections".to_owned(), "10".to_owned());
        assert_eq!(of(&Needs::of(&manifest(&[], &[]), 1), &configured), "167");
        configured.insert("max_locks_per_transaction".to_owned(), "10".to_owned());
        assert_eq!(of(&recorded, &configured), "10");
    }
}
