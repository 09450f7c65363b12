//! The files for NixOS: they parse, and with nixpkgs at hand the module evaluates to the units that the program itself
//! would write.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value};
use testkit::{Tool, skip, skip_unless};

use super::{
    evaluation,
    units::{lines, units_of},
};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn nix_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nix_files(&path, into);
        } else if path.extension().is_some_and(|end| end == "nix") {
            into.push(path);
        }
    }
}

#[test]
fn every_file_parses() {
    skip_unless!(Tool::Nix);
    let mut files = vec![root().join("flake.nix")];
    nix_files(&root().join("nix"), &mut files);
    assert!(files.len() >= 18, "{files:?}");
    for file in files {
        let parsed = evaluation::run(Command::new(Tool::Nix.path().unwrap()).arg("--parse").arg(&file), None);
        assert!(parsed.is_ok(), "{}: {parsed:?}", file.display());
    }
}

#[test]
fn the_example_of_secrets_names_every_secret() {
    let module = fs::read_to_string(root().join("nix/modules/backup/secrets.nix")).unwrap();
    let example = fs::read_to_string(root().join("nix/secrets/backup.example.yaml")).unwrap();
    let names: BTreeSet<_> = module
        .lines()
        .filter_map(|line| line.split_once(" = \"").map(|(_, name)| name.trim_end_matches("\";")))
        .filter(|name| name.starts_with("backup-") || name.starts_with("storagebox-"))
        .collect();
    assert_eq!(names.len(), 9, "{names:?}");
    for name in names {
        let position = example.find(&format!("\n{name}: ")).unwrap_or_else(|| panic!("{name} is missing"));
        let paragraph = example[..position].rsplit("\n\n").next().unwrap();
        assert!(paragraph.contains('#'), "{name} has no comment");
    }
}

/// The scripts of the tests in virtual machines, which cannot be run here, are at least Python.
#[test]
fn scripts_of_virtual_machines_compile() {
    skip_unless!(Tool::Nix);
    let folder = root().join("nix/tests/backup");
    let mut tests = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "nix")
            || ["default.nix", "common.nix", "unconfined.nix"].iter().any(|name| path.ends_with(name))
        {
            continue;
        }
        let expression = format!(
            "(import {} {{ common = import {}/common.nix {{ module = {{ }}; }}; }}).testScript",
            path.display(),
            folder.display()
        );
        let script = evaluation::value(&expression);
        let check = "import sys; compile(sys.argv[1], 'testScript', 'exec')";
        let output = Command::new("python3").args(["-c", check, script.as_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        tests += 1;
    }
    assert_eq!(tests, 7);
}

/// The nixpkgs that `$NIXPKGS` names. Tests that need one are skipped without it.
pub fn nixpkgs() -> Option<String> {
    if let Ok(path) = env::var("NIXPKGS") {
        return Some(path);
    }
    skip("nixpkgs: set NIXPKGS to a copy of it");
    None
}

/// An attribute of nix/tests/eval.nix, or Nix' error.
fn evaluate(nixpkgs: &str, attribute: &str) -> Result<Value, String> {
    let arguments = ["--arg", "nixpkgs", nixpkgs, "-A", attribute, "nix/tests/eval.nix"];
    evaluation::evaluate(&arguments, Some(Path::new("/nix/store")))
}

/// The services and timers of a host are those that the program writes for the same settings.
fn compare(host: &Value, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let settings: toml::Table = serde_json::from_value(host["settings"].clone()).unwrap();
    fs::write(&config, toml::to_string(&settings).unwrap()).unwrap();
    let ours = units_of(&config);
    let (services, timers) = (host["services"].as_object().unwrap(), host["timers"].as_object().unwrap());
    let names: BTreeSet<_> = services
        .keys()
        .map(|name| format!("{name}.service"))
        .chain(timers.keys().map(|name| format!("{name}.timer")))
        .chain(["tik-backup.target".to_owned()])
        .collect();
    assert_eq!(names, ours.keys().cloned().collect(), "{what}");
    for (name, unit) in services {
        let expected = ours[&format!("{name}.service")].as_object().unwrap();
        let settings = unit["serviceConfig"].as_object().unwrap();
        for (key, value) in expected["Service"].as_object().unwrap() {
            if key == "ExecStart" {
                let words = |text: &str| text.split(' ').skip(3).map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(
                    words(value.as_str().unwrap()),
                    words(settings[key].as_str().unwrap()),
                    "{what}: {name}"
                );
                continue;
            }
            // The configuration has another path than the one written here.
            let same = |value: &Value| {
                let mut lines = lines(key, value);
                lines.retain(|line| key != "LoadCredential" || !line.starts_with("configuration:"));
                lines
            };
            assert_eq!(same(value), same(&settings[key]), "{what}: {name} {key}");
        }
        let set = |value: &&Value| value.as_array().is_none_or(|list| !list.is_empty());
        assert_eq!(
            settings.values().filter(set).count(),
            expected["Service"].as_object().unwrap().len(),
            "{name}"
        );
        assert_eq!(
            lines("Wants", &unit["wants"]),
            lines("Wants", &expected["Unit"]["Wants"]),
            "{what}: {name}"
        );
        assert_eq!(unit["description"], expected["Unit"]["Description"], "{what}: {name}");
        let after = |value: &Value| lines("Wants", value);
        assert_eq!(after(&unit["after"]), after(&expected["Unit"]["After"]), "{what}: {name}");
    }
    for (name, unit) in timers {
        let expected: &Map<String, Value> = ours[&format!("{name}.timer")]["Timer"].as_object().unwrap();
        assert_eq!(unit["timerConfig"].as_object().unwrap(), expected, "{what}: {name}");
        assert_eq!(unit["wantedBy"][0], "timers.target");
    }
}

#[test]
fn the_module_makes_what_it_promises() {
    skip_unless!(Tool::Nix);
    let Some(nixpkgs) = nixpkgs() else { return };
    let everything = evaluate(&nixpkgs, "everything").unwrap();
    assert_eq!(everything["failed"], serde_json::json!([]));
    compare(&everything, "everything");
    let at = |timer: &str| {
        everything["timers"][format!("tik-backup-{timer}")]["timerConfig"]["OnCalendar"].clone()
    };
    for (timer, time) in [
        ("source-azure-postgres", "02:00"),
        ("source-azure-mysql", "02:30"),
        ("source-mongodb", "03:00"),
        ("source-discourse", "03:30"),
        ("source-discourse-uploads", "03:30"),
        ("source-azure-storage", "Sun 04:00"),
    ] {
        assert_eq!(at(timer), time, "{timer}");
    }
    let settings = &everything["settings"];
    assert_eq!(settings["sources"]["azure-storage"]["exclude_accounts"][0], "tikprodterraform");
    assert_eq!(
        (&settings["retention"]["keep_daily"], &settings["retention"]["keep_weekly"]),
        (&7.into(), &4.into())
    );
    assert_eq!(settings["retention"]["keep_within"], "48h");
    assert_eq!(settings["repository"]["mount"], "/mnt/backup");
    assert!(everything["role"].as_str().unwrap().contains("GRANT pg_read_all_data TO \"tik-backup\""));
    let mount = &everything["mounts"]["/mnt/backup"];
    let options: Vec<_> = mount["options"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for option in [
        "credentials=/run/secrets/storagebox-credentials",
        "_netdev",
        "x-systemd.automount",
        "uid=tik-backup",
    ] {
        assert!(options.contains(&option), "{option} in {options:?}");
    }

    let alone = evaluate(&nixpkgs, "alone").unwrap();
    assert_eq!(alone.as_object().unwrap().len(), 5);
    for (name, host) in alone.as_object().unwrap() {
        assert_eq!(host["failed"], serde_json::json!([]), "{name}");
        compare(host, name);
    }
    assert_eq!(alone["discourse"]["role"], Value::Null);
}

/// nix/tests/cases.nix: configurations as administrators write them, with the expected results.
#[test]
fn every_case_of_an_administrator_comes_out_as_expected() {
    skip_unless!(Tool::Nix);
    let Some(nixpkgs) = nixpkgs() else { return };
    let cases = evaluate(&nixpkgs, "cases").unwrap();
    let cases = cases.as_object().unwrap();
    assert!(cases.len() >= 130, "{}", cases.len());
    let different: Vec<_> = cases.iter().filter(|(_, result)| *result != "ok").collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn wrong_options_are_rejected_with_a_reason() {
    skip_unless!(Tool::Nix);
    let Some(nixpkgs) = nixpkgs() else { return };
    let cases = evaluate(&nixpkgs, "says").unwrap();
    let cases = cases.as_object().unwrap();
    assert!(cases.len() >= 15, "{cases:?}");
    for (name, text) in cases {
        let said = evaluate(&nixpkgs, &format!("wrong.{name}")).unwrap_err();
        assert!(said.contains(text.as_str().unwrap()), "{name}: {said}");
    }
}
