//! A server, a configuration with client tools that fail on demand, and both restics.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Cmd, Config, ConfigBuilder, FakeClients, PgServer, PgVersion, Ran, Restic, Tool, postgres::quote,
    process::run_ok, program::quoted, running::Running,
};

/// What most tests need.
pub struct World {
    pub server: PgServer,
    pub clients: FakeClients,
    pub config: Config,
    pub old: Restic,
    pub new: Restic,
}

/// What goes into the configuration besides the server.
#[derive(Default, Clone, Copy)]
pub struct Setup<'a> {
    pub repository: &'a str,
    pub source: &'a str,
    pub tables: &'a str,
}

impl World {
    /// A server with these databases, each with a small table, configured as source `pg` without its roles. `None`,
    /// with a visible skip, if a tool is missing.
    pub fn new(databases: &[&str], setup: Setup<'_>) -> Option<Self> {
        if !Tool::Pg15.or_skip() {
            return None;
        }
        let (old, new) = (Restic::old()?, Restic::new_()?);
        let server = PgServer::start(PgVersion::V15);
        for database in databases {
            server.create_database(database);
            fill(&server, database, "small", 2_000, database);
        }
        let clients = FakeClients::of_postgres();
        let source = format!("globals = false\n{}\n{}", client_dirs(&clients), setup.source);
        let config = ConfigBuilder::new()
            .repository(setup.repository)
            .tables(setup.tables)
            .postgres("pg", &server, &source)
            .build();
        Some(Self { server, clients, config, old, new })
    }

    /// As [`Self::new`], with the repository created.
    pub fn with_repository(databases: &[&str], setup: Setup<'_>) -> Option<Self> {
        let world = Self::new(databases, setup)?;
        world.cmd().arg("init").run().ok();
        Some(world)
    }

    pub fn cmd(&self) -> Cmd {
        Cmd::with(&self.config)
    }

    pub fn repo(&self) -> PathBuf {
        self.config.repo()
    }

    /// Backs up these items, or all.
    pub fn backup(&self, items: &[&str]) -> Ran {
        self.cmd().args(["--json", "backup"]).args(items).run()
    }

    /// Starts a backup of these items.
    pub fn start_backup(&self, items: &[&str]) -> Running {
        Running::start(self.cmd().arg("backup").args(items).into_command())
    }

    /// Ids of the snapshots of an item, as stock restic sees them.
    pub fn snapshots(&self, item: &str) -> BTreeSet<String> {
        self.snapshots_by_item().remove(item).unwrap_or_default()
    }

    /// The same of every item.
    pub fn snapshots_by_item(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for snapshot in self.all_snapshots() {
            let item = snapshot["paths"][0].as_str().unwrap().trim_start_matches('/').to_owned();
            found.entry(item).or_default().insert(snapshot["id"].as_str().unwrap().to_owned());
        }
        found
    }

    /// All snapshots, even if the repository is locked.
    fn all_snapshots(&self) -> Vec<Value> {
        serde_json::from_slice::<Option<_>>(&self.restic(&["--no-lock", "snapshots", "--json"]))
            .unwrap()
            .unwrap_or_default()
    }

    /// Both restics read every byte and find nothing wrong.
    #[track_caller]
    pub fn clean(&self) {
        for restic in [&self.old, &self.new] {
            restic.check(&self.repo(), &self.config.password_file(), true);
        }
    }

    /// The newest restic reads every byte and finds nothing wrong, although the lock of a dead process may be there,
    /// which its `check` would stop at.
    #[track_caller]
    pub fn clean_but_locked(&self) {
        self.restic(&["--no-lock", "check", "--read-data"]);
    }

    /// As [`Self::clean`], and they find nothing superfluous either.
    #[track_caller]
    pub fn spotless(&self) {
        for restic in [&self.old, &self.new] {
            let output = restic.run(&self.repo(), &self.config.password_file(), &["check", "--read-data"]);
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "{text}");
            for remark in ["not referenced", "duplicate data", "additional files"] {
                assert!(!text.contains(remark), "{}: {text}", restic.version());
            }
        }
    }

    /// Runs the newest restic on the repository; it must succeed.
    pub fn restic(&self, args: &[&str]) -> Vec<u8> {
        self.new.ok(&self.repo(), &self.config.password_file(), args)
    }

    /// Checks with stock tools that a snapshot is whole, and returns the bytes of its dump.
    #[track_caller]
    pub fn whole(&self, id: &str, item: &str) -> Vec<u8> {
        // One call for both files: most of what restic does is to turn the password into a key.
        let folder = tempfile::tempdir().unwrap();
        let archive = self.restic(&["--no-lock", "dump", id, &format!("/{item}")]);
        run_ok(Command::new("tar").arg("-x").arg("-C").arg(folder.path()), &archive);
        let content = |name: &str| {
            let path = files(folder.path()).into_iter().find(|(path, _)| path.ends_with(name));
            let (path, _) = path.unwrap_or_else(|| panic!("snapshot {id} of {item} has no {name}"));
            fs::read(folder.path().join(path)).unwrap()
        };
        let manifest: Value = serde_json::from_slice(&content("manifest.json")).unwrap();
        let dump = content("database.dump");
        assert_eq!(manifest["files"][0]["path"], "database.dump");
        assert_eq!(manifest["files"][0]["bytes"], dump.len(), "snapshot {id} of {item}");
        run_ok(Command::new(PgVersion::V15.bin_dir().join("pg_restore")).args(["-f", "/dev/null"]), &dump);
        dump
    }

    /// Every snapshot that is not in `seen` yet is whole; they are added to it.
    #[track_caller]
    pub fn all_whole(&self, seen: &mut BTreeSet<String>) {
        for (item, ids) in self.snapshots_by_item() {
            for id in ids {
                if seen.insert(id.clone()) {
                    self.whole(&id, &item);
                }
            }
        }
    }

    /// Writes a copy of the configuration with a text replaced, and returns its path.
    pub fn variant(&self, name: &str, replacements: &[(&str, &str)]) -> PathBuf {
        let mut text = fs::read_to_string(self.config.path()).unwrap();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from:?} is not in the configuration:\n{text}");
            text = text.replace(from, to);
        }
        let path = self.config.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a copy of the configuration with the repository elsewhere.
    pub fn relocated(&self, name: &str, location: &Path) -> PathBuf {
        let line = |path: &Path| format!("location = {}", quoted(&path.display().to_string()));
        self.variant(name, &[(&line(&self.repo()), &line(location))])
    }
}

/// The line of a source that names these clients.
pub fn client_dirs(clients: &FakeClients) -> String {
    format!("client_dirs = [{}]", quoted(&clients.path().display().to_string()))
}

/// A run with another configuration file.
pub fn cmd_with(config: &Path) -> Cmd {
    Cmd::new().arg("--config").arg(config)
}

/// Recreates a table with this number of rows of about 140 bytes that compress to half at best.
pub fn fill(server: &PgServer, database: &str, table: &str, rows: u32, seed: &str) {
    let table = quote(table);
    server.psql(
        database,
        &format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} AS SELECT i,
             encode(sha256(('{seed}a' || i)::bytea), 'hex') AS a, encode(sha256(('{seed}b' || i)::bytea), 'hex') AS b
             FROM generate_series(1, {rows}) i"
        ),
    );
}

/// The item with this name in a run's JSON.
#[track_caller]
pub fn item<'a>(run: &'a Value, source: &str, name: &str) -> &'a Value {
    let items = run["items"].as_array().unwrap();
    items
        .iter()
        .find(|item| item["source"] == source && item["item"] == name)
        .unwrap_or_else(|| panic!("no {name}: {run}"))
}

/// Every file below a directory, by its path from there, with its size.
pub fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.path().strip_prefix(folder).unwrap().to_owned(), meta.len()));
            }
        }
    }
    found.sort();
    found
}

/// Files of interrupted writes.
pub fn temporary_files(repo: &Path) -> Vec<PathBuf> {
    let all = files(repo).into_iter().map(|(path, _)| path);
    all.filter(|path| path.to_string_lossy().contains("-tmp-")).collect()
}

/// Number of lock files.
pub fn locks(repo: &Path) -> usize {
    let whole = |name: std::ffi::OsString| !name.to_string_lossy().contains("-tmp-");
    fs::read_dir(repo.join("locks"))
        .unwrap()
        .filter(|entry| whole(entry.as_ref().unwrap().file_name()))
        .count()
}
