//! The commands of docs/install.md, unchanged, on a machine with a real systemd; and the messages of `tik-backup doctor`
//! about problems.

use serde_json::Value;
use testkit::{Tool, receiver::Receiver, skip_unless};

use super::{
    machine::Machine,
    package::{MOUNT, SERVER, free_port},
};

const DOCUMENT: &str = include_str!("../../../docs/install.md");
const SECTION: &str = "## On Debian and Ubuntu";

/// The lines of the fenced blocks of this kind in the section, without their indentation; one text for each block.
fn blocks(kind: &str) -> Vec<String> {
    let section = DOCUMENT.split(SECTION).nth(1).unwrap().split("\n## ").next().unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in section.lines().map(str::trim) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(found)) => open = Some(if found == kind { String::new() } else { "\0".to_owned() }),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|block| !block.starts_with('\0'))),
            (Some(block), None) => block.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    blocks
}

/// The commands that root types, without comments.
fn commands() -> Vec<String> {
    let blocks = blocks("console").concat();
    let typed = blocks.lines().filter_map(|line| line.strip_prefix("# "));
    typed.map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect()
}

/// The configuration of the document, with the port of the server that the test has.
fn configuration(port: u16) -> String {
    let text = blocks("toml").remove(0);
    let changed = text.replace("user = \"backup\"\n", &format!("user = \"backup\"\nport = {port}\n"));
    assert_ne!(changed, text);
    changed
}

struct Site {
    machine: Machine,
    receiver: Receiver,
    port: u16,
}

impl Site {
    fn doctor(&self) -> (Value, Option<i32>) {
        let (text, code) = self.machine.try_sh("tik-backup --json doctor 2>/root/doctor.log");
        (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")), code)
    }

    /// Checks that doctor reports this problem; its exit code.
    fn finds(&self, about: &str, state: &str, what: &str) -> Option<i32> {
        let (document, code) = self.doctor();
        let found = document["findings"].as_array().unwrap().iter().any(|finding| {
            finding["about"] == about && finding["state"] == state && finding.to_string().contains(what)
        });
        assert!(found, "{about} {state} {what}: {document:#}");
        code
    }
}

#[test]
fn the_commands_of_the_document_run_as_they_stand_and_the_doctor_finds_what_is_wrong() {
    skip_unless!(Tool::Pg15, Tool::Package);
    let Some(machine) = Machine::boot() else { return };
    let site = Site { machine, receiver: Receiver::start(), port: free_port() };
    prepare(&site);
    by_the_book(&site);
    what_is_wrong_is_found(&site);
    the_repository_is_for_the_services(&site.machine);
}

fn prepare(site: &Site) {
    let machine = &site.machine;
    machine.copy(&Tool::Package.path().unwrap(), "/root/tik-backup.deb");
    machine.sh("dpkg --install /root/tik-backup.deb && rm /root/tik-backup.deb");
    machine.write("/root/server.sh", 0o700, SERVER);
    machine.sh(&format!("bash /root/server.sh {}", site.port));
    // A local disk that was just mounted: it belongs to root.
    let disk = MOUNT.replace("uid=tik-backup,gid=tik-backup,mode=0700", "mode=0755,size=4g");
    machine.write("/etc/systemd/system/mnt-backup.mount", 0o644, &disk);
    machine.sh("systemctl daemon-reload && systemctl start mnt-backup.mount");
}

fn by_the_book(site: &Site) {
    let machine = &site.machine;
    let commands = commands();
    assert!(commands.len() > 15 && commands.iter().any(|typed| typed == "tik-backup doctor"), "{commands:?}");
    for typed in commands {
        // The input that is typed into a file.
        let input = match typed.strip_prefix("install -m 0600 /dev/stdin /etc/tik-backup/secrets/") {
            Some("main") => "<<<'of the server'".to_owned(),
            Some("webhook") => format!("<<<'{}'", site.receiver.url("/")),
            Some(other) => panic!("what is typed into {other}?"),
            None => String::new(),
        };
        if let Some(path) = typed.strip_prefix("editor ") {
            machine.write(path, 0o600, &configuration(site.port));
        } else {
            // A careful operator, whose files are private by default.
            machine.sh(&format!("umask 077; {typed} {input}"));
        }
    }
    let status: Value = serde_json::from_str(&machine.sh("tik-backup --json status")).unwrap();
    let items = status["items"].as_array().unwrap();
    let states: Vec<_> = items.iter().filter(|item| item["state"] != "excluded").collect();
    assert!(!states.is_empty() && states.iter().all(|item| item["state"] == "protected"), "{states:#?}");
    assert!(!site.receiver.requests().is_empty(), "the alert on purpose");
    let (found, code) = site.doctor();
    assert_eq!(code, Some(0), "{found:#}");
    let all = found.to_string();
    for part in
        ["in the sandbox of the services", "answers, ", "up to date", "opens and can be written", "next "]
    {
        assert!(all.contains(part), "{part}: {found:#}");
    }
}

fn what_is_wrong_is_found(site: &Site) {
    let machine = &site.machine;
    // A configuration that only root can read is reported, and the services run and can send alerts.
    machine.sh("chmod 0600 /etc/tik-backup/config.toml && systemctl start tik-backup-source-main");
    assert_eq!(site.finds("configuration", "warning", "is closed to that user"), Some(0));
    let (text, code) = machine.try_sh("runuser -u tik-backup -- tik-backup config check");
    assert!(
        code == Some(2) && text.contains("belongs to root and this is tik-backup: run it as root"),
        "{text}"
    );
    assert!(machine.try_sh("tik-backup config check").0.contains("is closed to that user"));

    machine.sh("mv /etc/tik-backup/secrets/main /root/main");
    assert_eq!(site.finds("secrets", "problem", "systemd did not find it"), Some(2));
    machine.sh("mv /root/main /etc/tik-backup/secrets/main");

    machine.sh("chown -R root: /mnt/backup/restic-repo");
    assert_eq!(site.finds("repository", "problem", "chown -R tik-backup: "), Some(4));
    machine.sh("chown -R tik-backup: /mnt/backup/restic-repo");

    machine.sh("systemctl stop pg.service tik-backup.target && systemctl disable --quiet tik-backup.target");
    assert_eq!(site.finds("sources.main", "problem", "connect"), Some(1));
    assert_eq!(site.finds("timers", "problem", "is not enabled"), Some(1));
    assert_eq!(site.finds("backup of main", "problem", "is not active"), Some(1));

    machine.sh("sed -i 's/02:00/03:00/; /alerts/,$d' /etc/tik-backup/config.toml");
    assert_eq!(site.finds("units", "problem", "do not match the configuration"), Some(1));
    assert_eq!(site.finds("alerts", "warning", "no alerts are sent"), Some(1));
}

/// Files that root creates without a umask belong to the services' user and are private.
fn the_repository_is_for_the_services(machine: &Machine) {
    machine.sh(
        "sed -i 's:/mnt/backup/restic-repo:/srv/new/restic-repo:; /^mount/d' /etc/tik-backup/config.toml",
    );
    machine.sh("umask 000; tik-backup init");
    assert_eq!(machine.sh("find /srv/new ! -user tik-backup"), "");
    assert_eq!(machine.sh("find /srv/new -perm /077"), "", "open to others");
    // An existing directory of root is not changed, which is reported.
    machine.sh("rm -rf /srv/new && install -d -m 0700 /srv/new/restic-repo");
    let (text, code) = machine.try_sh("tik-backup init");
    assert!(code == Some(0) && text.contains("the services run as tik-backup and cannot use it"), "{text}");
}
