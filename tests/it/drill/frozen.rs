//! This version reads the data of earlier ones: a repository, a history and a configuration that were made by a
//! released program and are kept as they were. `tests/fixtures/frozen-0.1.0/README.md` tells what is in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{
    Cmd, MyFlavour, Ran, Tool, fixture, process::run_ok, receiver::Receiver, reports::files_below,
    skip_unless,
};

/// Every set is read by every later version. A release adds its own.
const SETS: [&str; 1] = ["frozen-0.1.0"];

/// A frozen set unpacked into a directory of its own, with its configuration for this machine. Its sources are gone unless
/// a test says where they are.
pub struct Frozen {
    dir: TempDir,
    template: String,
    places: BTreeMap<&'static str, String>,
    /// Receives the alerts.
    pub receiver: Receiver,
}

impl Frozen {
    /// The newest set.
    pub fn newest() -> Self {
        Self::of(SETS[SETS.len() - 1])
    }

    fn of(set: &str) -> Self {
        // Not the temporary directory of the environment: a socket's path may have only 107 bytes.
        let dir = tempfile::Builder::new().prefix("tik-frozen-").tempdir_in("/tmp").unwrap();
        let archive = fixture(set).join("content.tar.gz");
        run_ok(Command::new("tar").arg("-xpzf").arg(archive).arg("-C").arg(dir.path()), b"");
        let template = fs::read_to_string(fixture(set).join("config.toml")).unwrap();
        let receiver = Receiver::start();
        let mut frozen = Self { dir, template, places: BTreeMap::new(), receiver };
        let program =
            |tool: Tool| tool.path().unwrap_or_else(|| PathBuf::from("/nowhere")).display().to_string();
        let mariadb = Tool::Mariadb.path().map(|_| MyFlavour::Mariadb1011.client_dir());
        let mariadb = mariadb.unwrap_or_else(|| PathBuf::from("/nowhere")).display().to_string();
        for (name, below) in [("STATE", "state"), ("REPOSITORY", "repository"), ("SECRETS", "secrets")] {
            frozen.places.insert(name, frozen.path(below).display().to_string());
        }
        frozen.places.extend([
            ("FILES", frozen.path("files").display().to_string()),
            ("MONGOD", program(Tool::MongoCompatible)),
            ("POSTGRES_PROGRAMS", program(Tool::Pg15)),
            ("MARIADB_PROGRAMS", mariadb),
            ("POSTGRES", "/nowhere/postgres".to_owned()),
            ("MARIADB", "/nowhere/mariadb.sock".to_owned()),
            ("AZURE", "http://127.0.0.1:9".to_owned()),
        ]);
        frozen.secret("webhook-url", &frozen.receiver.url("/hook"));
        frozen.secret("mongodb-uri", "mongodb://127.0.0.1:9/?directConnection=true");
        frozen.configure();
        frozen
    }

    /// Sets the location of a source.
    pub fn place(&mut self, name: &'static str, place: &str) {
        self.places.insert(name, place.to_owned());
        self.configure();
    }

    fn configure(&self) {
        let mut text = self.template.clone();
        for (name, place) in &self.places {
            let placeholder = format!("@{name}@");
            assert!(text.contains(&placeholder), "{placeholder} is not in the configuration");
            text = text.replace(&placeholder, place);
        }
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// Writes a secret of the configuration.
    pub fn secret(&self, name: &str, content: &str) {
        let path = self.path("secrets").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A path in the directory of the set.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The program with the frozen configuration, in the time zone in which the set was made.
    pub fn cmd(&self) -> Cmd {
        Cmd::new().arg("--config").arg(self.path("config.toml")).env("TZ", "UTC")
    }

    /// The program's JSON.
    pub fn try_json(&self, args: &[&str]) -> Ran {
        self.cmd().arg("--json").args(args).run()
    }

    /// The JSON of a command that must succeed.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.try_json(args).ok().json()
    }

    /// What was kept beside the set to compare with. Its times have the name of their zone behind them, as 0.1.0 printed them.
    pub fn expected(&self, name: &str) -> Value {
        let path = self.path("expected").join(format!("{name}.json"));
        without_zones(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }

    /// Restores an item as files and returns the directory.
    #[track_caller]
    pub fn files_of(&self, name: &str, at: &str) -> PathBuf {
        let folder = self.path("restored").join(at).join(name.replace('/', "%"));
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        self.json(&["restore", name, "--at", at, "--to", folder.to_str().unwrap()]);
        folder
    }

    /// Backs these up upon the frozen set, which must succeed: what the history and the repository had is still there,
    /// one snapshot each is new, and nothing looks suspicious. The report.
    #[track_caller]
    pub fn continued(&self, items: &[&str]) -> Value {
        let before = self.json(&["status"]);
        let report = self.json(&[&["backup"][..], items].concat());
        let after = self.json(&["status"]);
        for entry in before["items"].as_array().unwrap() {
            let now = entry_of(&after, entry);
            let made = report["items"].as_array().unwrap().iter().any(|made| same_item(made, entry));
            let count = |entry: &Value| entry["snapshots"].as_u64().unwrap();
            assert_eq!(count(now), count(entry) + u64::from(made), "{now:#}");
            if made {
                let trend = |entry: &Value| entry["trend"].as_array().unwrap().len();
                assert_eq!(trend(now), trend(entry) + 1, "the history goes on: {now:#}");
                assert_eq!(now["last_proof"], entry["last_proof"], "a proof stays");
            } else {
                assert_eq!(stable(now), stable(entry));
            }
        }
        for made in report["items"].as_array().unwrap() {
            assert_eq!(made["outcome"], "ok", "{made:#}");
            assert!(made["suspicious"].is_null(), "nothing changed since: {made:#}");
        }
        assert_eq!(report["forgotten"], 0);
        report
    }
}

fn same_item(one: &Value, other: &Value) -> bool {
    (&one["source"], &one["item"]) == (&other["source"], &other["item"])
}

#[track_caller]
fn entry_of<'a>(ledger: &'a Value, entry: &Value) -> &'a Value {
    let entries = ledger["items"].as_array().unwrap();
    entries
        .iter()
        .find(|known| same_item(known, entry))
        .unwrap_or_else(|| panic!("{entry:#} is no longer known"))
}

/// The same with times in RFC 3339.
fn without_zones(value: Value) -> Value {
    match value {
        Value::String(text) if text.parse::<jiff::Zoned>().is_ok() => {
            text.split_once('[').map_or(text.as_str(), |(time, _)| time).into()
        }
        Value::Array(values) => values.into_iter().map(without_zones).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, without_zones(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

/// The part of an item's ledger entry that does not change with time.
fn stable(entry: &Value) -> Value {
    let fields = [
        "kind",
        "held",
        "last_backup",
        "snapshot",
        "snapshots",
        "last_proof",
        "restore_seconds",
        "bytes",
        "rows",
        "seconds",
        "trend",
        "notes",
    ];
    let mut kept: serde_json::Map<String, Value> =
        fields.iter().map(|field| ((*field).to_owned(), entry[*field].clone())).collect();
    // Items become late or unproven with time.
    let problems = entry["problems"].as_array().unwrap().iter();
    let lasting = problems.filter(|problem| problem["kind"] != "late" && problem["kind"] != "not-proven");
    let told: Vec<Value> = lasting.map(|problem| json!([problem["kind"], problem["since"]])).collect();
    kept.insert("problems".to_owned(), told.into());
    Value::Object(kept)
}

/// `source/item` and id of every snapshot, with what else must not change.
fn listed(snapshots: &Value) -> BTreeSet<String> {
    let line = |s: &Value| {
        format!("{} {} {} {} {} {}", s["source"], s["item"], s["kind"], s["id"], s["time"], s["bytes"])
    };
    snapshots["snapshots"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn what_an_earlier_version_stored_is_listed_and_sound() {
    for set in SETS {
        let frozen = Frozen::of(set);
        frozen.cmd().args(["config", "check", "--offline"]).run().ok();
        let snapshots = frozen.json(&["snapshots"]);
        assert_eq!(listed(&snapshots), listed(&frozen.expected("snapshots")), "{set}");
        let check = frozen.json(&["check", "--read-data"]);
        assert_eq!((&check["errors"], &check["warnings"]), (&json!([]), &json!([])), "{set}");
        assert_eq!(check["snapshots"], snapshots["snapshots"].as_array().unwrap().len(), "{set}");
    }
}

#[test]
fn the_history_of_an_earlier_version_says_what_it_said_then() {
    for set in SETS {
        let frozen = Frozen::of(set);
        let (then, now) = (frozen.expected("status"), frozen.json(&["status"]));
        assert_eq!(now["notes"], then["notes"], "{set}: it was opened, not begun anew");
        for entry in then["items"].as_array().unwrap() {
            let known = entry_of(&now, entry);
            assert_eq!(stable(known), stable(entry), "{set}: {} {}", entry["source"], entry["item"]);
        }
        assert_eq!(now["items"].as_array().unwrap().len(), then["items"].as_array().unwrap().len(), "{set}");
        assert_eq!(now["alerts"][0]["waiting"], then["alerts"][0]["waiting"], "{set}: messages still wait");
        let entry = |source: &str, item: &str| entry_of(&now, &json!({"source": source, "item": item}));
        assert_eq!(entry("disk", "gone")["state"], "failed", "{set}");
        assert_eq!(entry("shop", "scratch_1")["state"], "excluded", "{set}");
        assert_eq!(entry("wiki", "wiki")["held"], true, "{set}: what lost rows is held");
        assert_eq!(entry("shop", "forum")["held"], false, "{set}: what was accepted is not");
        // The same ledger in another format.
        frozen.cmd().args(["status", "--all"]).run().ok();
        frozen.cmd().args(["status", "--prometheus"]).run().ok();
        frozen.cmd().arg("runbook").run().ok();
        frozen.cmd().args(["report", "--html"]).arg(frozen.path("report.html")).run().ok();
    }
}

#[test]
fn a_history_is_begun_anew_from_the_manifests_of_an_earlier_version() {
    for set in SETS {
        let frozen = Frozen::of(set);
        fs::remove_dir_all(frozen.path("state")).unwrap();
        let then = frozen.expected("status");
        let count = frozen.expected("snapshots")["snapshots"].as_array().unwrap().len();
        let now = frozen.json(&["status"]);
        let notes = now["notes"].to_string();
        assert!(notes.contains(&format!("rebuilt from {count} snapshots")), "{set}: {notes}");
        let stored = then["items"].as_array().unwrap().iter().filter(|entry| entry["snapshots"] != 0);
        for entry in stored {
            let known = entry_of(&now, entry);
            for field in ["kind", "snapshot", "snapshots", "last_backup", "bytes", "rows"] {
                assert_eq!(known[field], entry[field], "{set}: {field} of {known:#}");
            }
        }
    }
}

#[test]
fn everything_that_an_earlier_version_stored_is_proven_to_restore() {
    skip_unless!(Tool::Pg15, Tool::Mariadb, Tool::MongoCompatible);
    for set in SETS {
        let frozen = Frozen::of(set);
        let report = frozen.json(&["drill", "--all"]);
        let proven = report["items"].as_array().unwrap();
        let items: BTreeSet<_> = listed_items(&frozen.expected("snapshots"));
        assert_eq!(proven.iter().map(name_of).collect::<BTreeSet<_>>(), items, "{set}");
        for then in frozen.expected("drill-2")["items"].as_array().unwrap() {
            let now = proven.iter().find(|now| same_item(now, then)).unwrap();
            assert_eq!(now["outcome"], "proven", "{set}: {now:#}");
            // The frozen run after that drill made newer snapshots of one source.
            if now["snapshot"] == then["snapshot"] {
                for field in ["objects", "rows", "bytes"] {
                    assert_eq!(now[field], then[field], "{set}: {field} of {now:#}");
                }
            }
        }
    }
}

fn name_of(entry: &Value) -> String {
    format!("{}/{}", entry["source"].as_str().unwrap(), entry["item"].as_str().unwrap())
}

fn listed_items(snapshots: &Value) -> BTreeSet<String> {
    snapshots["snapshots"].as_array().unwrap().iter().map(name_of).collect()
}

#[test]
fn every_snapshot_of_an_earlier_version_is_restored_as_files() {
    for set in SETS {
        let frozen = Frozen::of(set);
        for snapshot in frozen.expected("snapshots")["snapshots"].as_array().unwrap() {
            let name = name_of(snapshot);
            let folder = frozen.files_of(&name, snapshot["id"].as_str().unwrap());
            // A directory of the machine comes back as it was, without the manifest.
            if snapshot["kind"] == "directory" {
                assert!(!files_below(&folder).is_empty(), "{set}: {name}");
                continue;
            }
            let manifest: Value =
                serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
            assert_eq!(
                (&manifest["source"], &manifest["item"]),
                (&snapshot["source"], &snapshot["item"]),
                "{set}"
            );
            for file in manifest["files"].as_array().unwrap() {
                let length = fs::metadata(folder.join(file["path"].as_str().unwrap())).unwrap().len();
                assert_eq!(file["bytes"], length, "{set}: {file} of {name}");
            }
        }
    }
}
