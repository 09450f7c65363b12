//! The units that the program writes, judged by systemd's own tools, and their counterpart for NixOS.

use std::{fs, path::Path, process::Command};

use serde_json::{Map, Value};
use testkit::{Cmd, Tool, project, skip_unless};

use super::evaluation;

const REPOSITORY: &str =
    "[repository]\nlocation = \"/mnt/my box/repo\"\npassword_file = \"/run/secrets/p%w\"\n";

/// One configuration with every key that changes units.
const VARIED: &str = r#"
state_dir = "/srv/state of backups"

[repository]
location_file = "/run/secrets/where"
password_file = "credential:repo"
mount = "/mnt/my-box"
[repository.options_files]
secret_access_key = "/run/secrets/s3"

[sources."a.b_c-D"]
kind = "mysql"
host = "db.example.org"
user = "backup"
password_file = "/run/secrets/100% my"
schedule = "Mon..Fri 02:30"

[sources.files]
kind = "directory"
paths = ["/tmp/kept", "/home"]
schedule = "*-*-* 04:00:00 Europe/Helsinki"

[sources.azure]
kind = "postgres"
azure = true
tenant_id_file = "/run/secrets/tenant"
client_id_file = "/run/secrets/client"
client_secret_file = "/run/secrets/secret"
user = "backup"
password_file = "/run/secrets/pg"

[drill]
dir = "/srv/scratch"

[systemd]
user = "backups"
drill = "never"
check = "monthly"
check_subset = "none"
watch = "*:0/30"
randomized_delay = "90s"
memory_max = "2G"
environment_file = "/etc/tik 100%/proxy.env"

[dashboard]
listen = "unix:/run/tik/backup/page.sock"
token_file = "/run/secrets/page"

[[alerts]]
kind = "ntfy"
topic_file = "/run/secrets/topic"
token_file = "/run/secrets/token"
"#;

/// All paths in places that the confinement would hide, and a repository without a mount.
const HIDDEN: &str = r#"
state_dir = "/home/state"

[repository]
location = "local:/srv/disk/a:b/repo"
password_file = "/run/secrets/p"

[sources.socket]
kind = "postgres"
host = "/tmp/pg"

[sources.tools]
kind = "mysql"
host = "db.example.org"
user = "x"
client_dirs = ["/root/mysql/bin"]
sslrootcert = "/home/ca.pem"

[sources.all]
kind = "directory"
paths = ["/var"]

[sources.almost]
kind = "directory"
paths = ["/tmpfoo"]

[sources.found]
kind = "directory"
paths = ["/v*/tmp/x", "/srv/*/uploads"]

[drill]
server_dirs = ["/tmp/servers"]
server_files = ["/root/libraries"]

[dashboard]
listen = "unix:/srv/sockets/page.sock"
"#;

pub fn units_of(config: &Path) -> Map<String, Value> {
    let document = Cmd::new()
        .arg("--config")
        .arg(config)
        .args(["--json", "systemd", "--executable", "/usr/bin/tik-backup"])
        .run()
        .ok()
        .json();
    let units = document["units"].as_array().unwrap();
    units.iter().map(|unit| (unit["name"].as_str().unwrap().to_owned(), unit["sections"].clone())).collect()
}

fn example() -> std::path::PathBuf {
    project().join("docs/example-config.toml")
}

fn configurations(folder: &Path) -> Vec<std::path::PathBuf> {
    let texts = [("varied.toml", VARIED), ("least.toml", REPOSITORY), ("hidden.toml", HIDDEN)];
    let written = texts.map(|(name, text)| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    });
    written.into_iter().chain([example()]).collect()
}

#[test]
fn systemd_accepts_them_and_finds_them_safe() {
    skip_unless!(Tool::Nspawn);
    let folder = tempfile::tempdir().unwrap();
    for config in configurations(folder.path()) {
        let out = folder.path().join("units");
        let _ = fs::remove_dir_all(&out);
        // verify looks for the program and its manual page.
        Cmd::new()
            .arg("--config")
            .arg(&config)
            .args(["systemd", "--executable", "/bin/true", "--output"])
            .arg(&out)
            .run()
            .ok();
        let files: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 11, "{files:?}");
        let run = |arguments: &[&str], files: &[std::path::PathBuf]| {
            let output = Command::new("systemd-analyze").args(arguments).args(files).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            (output.status.success(), text)
        };
        let (ok, text) = run(&["verify", "--man=no"], &files);
        assert!(ok && text.is_empty(), "{config:?}: {text}");
        let services: Vec<_> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end == "service"))
            .cloned()
            .collect();
        for service in services {
            let (ok, text) = run(&["security", "--offline=true", "--threshold=30"], &[service]);
            assert!(ok, "{text}");
        }
        for (name, sections) in units_of(&config).iter().filter(|(name, _)| name.ends_with(".timer")) {
            let calendar = sections["Timer"]["OnCalendar"].as_str().unwrap();
            let output = Command::new("systemd-analyze").args(["calendar", calendar]).output().unwrap();
            assert!(output.status.success(), "{name}: {calendar}");
        }
    }
}

#[test]
fn nixos_makes_the_same() {
    skip_unless!(Tool::Nix);
    let folder = tempfile::tempdir().unwrap();
    let file = project().join("nix/modules/backup/units.nix");
    for config in configurations(folder.path()) {
        let expression = format!(
            "import {} {{ settings = builtins.fromTOML (builtins.readFile {}); executable = \"/usr/bin/tik-backup\"; configFile = \"{}\"; }}",
            file.display(),
            config.display(),
            config.display()
        );
        let nix = evaluation::value(&expression);
        let nix = nix.as_object().unwrap();
        let ours = units_of(&config);
        let names = |units: &Map<String, Value>| {
            let mut names: Vec<_> = units.keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(nix));
        for (name, sections) in &ours {
            for (section, settings) in sections.as_object().unwrap() {
                let other = &nix[name][section];
                let count = other.as_object().map_or(0, Map::len);
                let absent = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
                let empty =
                    other.as_object().into_iter().flatten().filter(|(_, value)| absent(value)).count();
                assert_eq!(settings.as_object().unwrap().len(), count - empty, "{name} [{section}]: {other}");
                for (key, value) in settings.as_object().unwrap() {
                    assert_eq!(lines(key, value), lines(key, &other[key]), "{name} [{section}] {key}");
                }
            }
        }
    }
}

/// The lines of a setting, sorted if their order does not matter.
pub fn lines(key: &str, value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("(missing)").to_owned();
    let mut lines: Vec<_> = match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    };
    if key == "Wants" || key.ends_with("Credential") || key == "ReadWritePaths" {
        lines.sort();
    }
    lines
}

#[test]
fn what_a_service_needs_is_not_hidden_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    fs::write(&config, HIDDEN).unwrap();
    let units = units_of(&config);
    let setting =
        |unit: &str, key: &str| units[&format!("tik-backup-{unit}.service")]["Service"][key].clone();
    for source in ["source-socket", "source-all", "source-found", "drill"] {
        assert_eq!(setting(source, "PrivateTmp"), Value::Null, "{source}");
    }
    assert_eq!(
        (setting("source-almost", "PrivateTmp"), setting("source-tools", "PrivateTmp")),
        ("true".into(), "true".into())
    );
    assert_eq!(setting("source-tools", "ProtectHome"), "read-only");
    assert_eq!(setting("source-all", "ProtectKernelModules"), Value::Null);
    let writable = |unit: &str| setting(unit, "ReadWritePaths").to_string();
    assert!(writable("init").contains("\"-/srv/disk/a:b\""), "{}", writable("init"));
    assert!(
        writable("source-all").contains("-/srv/disk/a:b/repo") && writable("drill").contains("-/var/tmp")
    );
    // A unit that reports a missing storage does not need it.
    assert!(!writable("alert@").contains("/srv/disk"), "{}", writable("alert@"));
    assert_eq!(setting("check", "StateDirectory"), "tik-backup");
    assert!(writable("serve").contains("/srv/sockets") && !writable("serve").contains("/srv/disk"));
}

#[test]
fn a_folder_is_brought_up_to_date_and_what_others_wrote_stays() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let out = folder.path().join("units");
    let run = |arguments: &[&str]| {
        Cmd::new()
            .arg("--config")
            .arg(&config)
            .args(["--json", "systemd", "--output"])
            .arg(&out)
            .args(arguments)
            .run()
    };
    let change_of = |document: &Value, name: &str| {
        let units = document["units"].as_array().unwrap();
        let unit = units.iter().find(|unit| unit["name"] == name);
        unit.map(|unit| unit["change"].as_str().unwrap().to_owned())
    };
    let source = |name: &str, time: &str| {
        format!("[sources.{name}]\nkind = \"directory\"\npaths = [\"/srv\"]\nschedule = \"{time}\"\n")
    };
    fs::write(&config, format!("{REPOSITORY}{}{}", source("one", "02:00"), source("two", "03:00"))).unwrap();
    let first = run(&[]).ok().json();
    assert_eq!(change_of(&first, "tik-backup-source-two.timer").as_deref(), Some("added"));
    run(&["--check"]).ok();

    fs::write(out.join("tik-backup-mine.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    fs::write(&config, format!("{REPOSITORY}{}", source("one", "02:15"))).unwrap();
    run(&["--check"]).expect_code(5);
    let second = run(&[]).ok().json();
    let expected = [
        ("tik-backup-source-one.timer", Some("changed")),
        ("tik-backup-source-one.service", Some("unchanged")),
        ("tik-backup-source-two.service", Some("removed")),
        ("tik-backup-mine.service", None),
    ];
    for (name, change) in expected {
        assert_eq!(change_of(&second, name).as_deref(), change, "{name}");
    }
    assert!(
        !out.join("tik-backup-source-two.timer").exists() && out.join("tik-backup-mine.service").exists()
    );

    fs::write(out.join("tik-backup-drill.service"), "[Service]\nExecStart=/bin/false\n").unwrap();
    let refused = run(&[]).expect_code(1);
    assert!(
        refused.stderr.contains("tik-backup-drill.service was not written by this program"),
        "{}",
        refused.stderr
    );
}
