//! The package for Debian on a machine with a real systemd: installation, upgrades, and failures.

use std::{
    net::TcpListener,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{Tool, receiver::Receiver, skip_unless};

use super::machine::Machine;

/// A PostgreSQL with one database, reached by a password over the network and by name over its socket.
pub const SERVER: &str = r#"
set -e
bin=/usr/lib/postgresql/15/bin
install -d -o postgres -g postgres /srv/pg /run/pg
runuser -u postgres -- $bin/initdb -D /srv/pg/data -A trust --locale=C.UTF-8 -E UTF8 >/dev/null
cat >/srv/pg/data/pg_hba.conf <<'EOF'
local all postgres trust
local all all peer
host all all 127.0.0.1/32 scram-sha-256
EOF
cat >>/srv/pg/data/postgresql.conf <<EOF
listen_addresses = '127.0.0.1'
port = $1
unix_socket_directories = '/run/pg'
fsync = off
EOF
systemd-run --quiet --unit=pg --uid=postgres --service-type=notify $bin/postgres -D /srv/pg/data
psql="psql -X -q -v ON_ERROR_STOP=1 -h /run/pg -p $1 -U postgres"
$psql -d postgres <<'EOF'
CREATE DATABASE shop;
CREATE DATABASE "Größe & ""Maß""";
CREATE ROLE backup LOGIN PASSWORD 'of the server' IN ROLE pg_read_all_data;
CREATE ROLE "tik-backup" LOGIN IN ROLE pg_read_all_data;
EOF
$psql -d shop <<'EOF'
CREATE TABLE orders AS SELECT n, md5(n::text) FROM generate_series(1, 2000) n;
-- Run as whoever loads the table: here as a user who may do none of it, in a drill by the service that holds the secrets.
CREATE FUNCTION public.spring(n int) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    COPY (SELECT 1) TO PROGRAM 'cat /run/credentials/*/* >/var/lib/tik-backup/stolen; touch /mnt/backup/stolen; true';
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $f$;
CREATE TABLE prices (n int CHECK (public.spring(n)));
INSERT INTO prices VALUES (1);
EOF
"#;

pub const MOUNT: &str =
    "[Mount]\nWhat=tmpfs\nWhere=/mnt/backup\nType=tmpfs\nOptions=uid=tik-backup,gid=tik-backup,mode=0700\n";

/// A machine, and the receiver of its alerts.
pub struct Site {
    pub machine: Machine,
    pub receiver: Receiver,
}

impl Site {
    /// The alerts that the receiver got, as texts.
    pub fn told(&self) -> Vec<String> {
        self.receiver.requests().into_iter().map(|request| request.body).collect()
    }

    /// Waits for an alert that contains this text.
    #[track_caller]
    fn wait_until_told(&self, what: &str) {
        self.wait_until_told_since(0, what);
    }

    /// As before; the first `before` messages do not count.
    #[track_caller]
    pub fn wait_until_told_since(&self, before: usize, what: &str) {
        let begin = Instant::now();
        while !self.told().iter().skip(before).any(|text| text.contains(what)) {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "nobody was told of {what}: {:?}\n{}",
                self.told(),
                self.machine.try_sh("journalctl --no-pager --lines 60 --output cat").0
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.machine.sh("tik-backup --json status")).unwrap()
    }

    /// Starts a service and waits for its end; the exit code of `systemctl`.
    pub fn start(&self, unit: &str) -> Option<i32> {
        // An alert that is still being sent would be mistaken for that of the unit's next failure.
        self.machine
            .sh("while systemctl list-jobs --no-legend | grep -q tik-backup-alert; do sleep 0.1; done");
        self.machine.try_sh(&format!("systemctl start tik-backup-{unit}.service")).1
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn configuration(port: u16, slow: u16) -> String {
    format!(
        r#"
[repository]
location = "/mnt/backup/restic-repo"
password_file = "/etc/tik-backup/secrets/repository"
mount = "/mnt/backup"
min_free = "1MiB"

[sources.main]
kind = "postgres"
host = "127.0.0.1"
port = {port}
user = "backup"
password_file = "/etc/tik-backup/secrets/main"
sslmode = "disable"
role_passwords = "never"
schedule = "02:00"

[sources.local]
kind = "postgres"
host = "/run/pg"
port = {port}
user = "tik-backup"
databases = ["shop"]
globals = false
schedule = "03:30"

[sources.etc]
kind = "directory"
paths = ["/etc/ssl", "/root/private"]
schedule = "daily"

[sources.slow]
kind = "postgres"
host = "127.0.0.1"
port = {slow}
user = "backup"
password_file = "/etc/tik-backup/secrets/main"
sslmode = "disable"

[[alerts]]
kind = "webhook"
url_file = "/etc/tik-backup/secrets/webhook"
tries = 1
"#
    )
}

/// The machine with the package, a server, the configuration and its secrets.
fn site(slow: u16) -> Option<Site> {
    let machine = Machine::boot()?;
    let receiver = Receiver::start();
    let package = Tool::Package.path().unwrap();
    machine.copy(&package, "/root/tik-backup.deb");
    machine.sh("dpkg --install /root/tik-backup.deb && rm /root/tik-backup.deb");
    let port = free_port();
    machine.write("/root/server.sh", 0o700, SERVER);
    machine.sh(&format!("bash /root/server.sh {port}"));
    machine.write("/etc/systemd/system/mnt-backup.mount", 0o644, MOUNT);
    machine.write("/etc/tik-backup/config.toml", 0o644, &configuration(port, slow));
    machine.write("/root/private/key", 0o600, "a file for root alone\n");
    for (name, text) in
        [("repository", "of the repository"), ("main", "of the server"), ("webhook", &receiver.url("/"))]
    {
        machine.write(&format!("/etc/tik-backup/secrets/{name}"), 0o600, text);
    }
    machine.sh("systemctl daemon-reload");
    Some(Site { machine, receiver })
}

#[test]
fn it_installs_runs_alerts_and_goes_away() {
    skip_unless!(Tool::Pg15, Tool::Package);
    // A server that accepts connections and never answers: the run lasts until it is killed.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(site) = site(silent.local_addr().unwrap().port()) else { return };
    what_the_package_brings(&site.machine);
    the_first_day(&site);
    what_root_types_does_not_stop_the_services(&site);
    a_failed_run_and_a_killed_one_are_told(&site);
    a_storage_that_is_gone_is_told(&site);
    a_storage_that_is_dead_and_a_history_that_is_unusable_are_told(&site);
    removal(&site.machine);
}

fn what_the_package_brings(machine: &Machine) {
    machine.sh("tik-backup --version && id tik-backup && man --where tik-backup tik-backup-restore");
    machine.sh("test -s /usr/share/bash-completion/completions/tik-backup");
    machine.sh("tik-backup --config /usr/share/doc/tik-backup/examples/config.toml config check --offline");
    assert_eq!(
        machine.sh("stat -c '%U %a' /etc/tik-backup/secrets /var/lib/tik-backup"),
        "root 700\ntik-backup 700\n"
    );
}

fn the_first_day(site: &Site) {
    let machine = &site.machine;
    machine.sh("tik-backup config check");
    let found: Value = serde_json::from_str(&machine.sh("tik-backup --json discover main")).unwrap();
    assert!(found.to_string().contains("Größe"), "{found}");

    machine.sh("tik-backup systemd --output /etc/systemd/system");
    machine.sh("systemctl daemon-reload && systemctl enable --quiet --now tik-backup.target");
    assert_eq!(machine.try_sh("tik-backup systemd --output /etc/systemd/system --check").1, Some(0));
    let timers = machine.sh("systemctl list-timers --no-legend --plain 'tik-backup-*'");
    for name in ["source-main", "source-local", "source-etc", "drill", "check", "prune", "watch"] {
        assert!(timers.contains(&format!("tik-backup-{name}.timer")), "{name} in {timers}");
    }
    assert!(!timers.contains("slow"), "{timers}");

    machine.sh("systemctl start tik-backup-init.service");
    for source in ["main", "local", "etc"] {
        machine.sh(&format!("systemctl start tik-backup-source-{source}.service"));
    }
    for job in ["drill", "check", "prune"] {
        machine.sh(&format!("systemctl start tik-backup-{job}.service"));
    }
    what_the_backup_brought_reached_nothing(machine);
    let status = site.status();
    let states: Vec<_> = status["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["source"] != "slow" && item["state"] != "excluded")
        .map(|item| format!("{}/{}: {}", item["source"], item["item"], item["state"]))
        .collect();
    assert_eq!(states.len(), 6, "{states:?}");
    assert!(states.iter().all(|state| state.ends_with("\"protected\"")), "{states:?}");
    // A file that only root may read was read by a service that is not root.
    let listed = machine.sh(
        "RESTIC_PASSWORD_FILE=/etc/tik-backup/secrets/repository restic --no-cache --no-lock -r /mnt/backup/restic-repo ls latest --path /etc/private",
    );
    assert!(listed.contains("/key"), "{listed}");
}

/// The drill's unit must allow it to confine its servers, or nothing would be proven.
fn what_the_backup_brought_reached_nothing(machine: &Machine) {
    let find = "find /var/lib/tik-backup /mnt/backup -name stolen";
    assert_eq!(machine.sh(find), "");
    // The service's user could have done it.
    machine.sh("runuser -u tik-backup -- touch /var/lib/tik-backup/stolen /mnt/backup/stolen");
    assert_eq!(machine.sh(find).lines().count(), 2);
    machine.sh("rm /var/lib/tik-backup/stolen /mnt/backup/stolen");
    let journal = machine.sh("journalctl --no-pager --output cat --unit tik-backup-drill.service");
    assert!(journal.contains("main/shop: proven: ") && !journal.contains("not confined"), "{journal}");
}

fn what_root_types_does_not_stop_the_services(site: &Site) {
    let machine = &site.machine;
    machine.sh("tik-backup backup main && tik-backup status >/dev/null");
    let strangers = machine.sh("find /mnt/backup /var/lib/tik-backup ! -user tik-backup");
    assert_eq!(strangers, "", "files that the services may not read");
    machine.sh("systemctl start tik-backup-source-main.service");
}

fn a_failed_run_and_a_killed_one_are_told(site: &Site) {
    let machine = &site.machine;
    machine.sh("systemctl stop pg.service");
    let before = site.told().len();
    assert_eq!(site.start("source-main"), Some(1));
    site.wait_until_told("main");
    machine.sh("while systemctl list-jobs --no-legend | grep -q tik-backup-alert; do sleep 0.1; done");
    // The run has sent the alert itself; the unit for alerts knows that.
    assert_eq!(site.told().len() - before, 1, "{:?}", &site.told()[before..]);

    machine.sh("systemctl start --no-block tik-backup-source-slow.service");
    machine.sh("until systemctl show -P MainPID tik-backup-source-slow.service | grep -qv '^0$'; do sleep 0.1; done; sleep 1");
    machine.sh("systemctl kill --signal=KILL tik-backup-source-slow.service");
    site.wait_until_told("tik-backup-source-slow.service");

    // With a missing secret an alert is still sent, which names the secret.
    machine.sh("mv /etc/tik-backup/secrets/main /root/main");
    assert_eq!(site.start("source-main"), Some(1));
    let journal =
        machine.sh("journalctl --no-pager --output cat --unit tik-backup-source-main.service | tail -n 20");
    assert!(
        journal.contains("sources.main.password_file: the file /etc/tik-backup/secrets/main cannot be read"),
        "{journal}"
    );
    machine.sh("mv /root/main /etc/tik-backup/secrets/main");
}

fn a_storage_that_is_gone_is_told(site: &Site) {
    let machine = &site.machine;
    // First the timers are stopped: one of this minute would mount it again.
    machine.sh("rm /etc/systemd/system/mnt-backup.mount
         systemctl mask --quiet --runtime mnt-backup.mount && systemctl daemon-reload");
    // A service of the steps before may still be closing its files there, and an alert that starts has a look at every
    // mount for its confinement: a mount that is in use cannot be stopped.
    machine.sh(
        "for _ in $(seq 120); do
             systemctl stop mnt-backup.mount 2>/dev/null
             findmnt --noheadings /mnt/backup >/dev/null || break
             sleep 0.5
         done
         if findmnt --noheadings /mnt/backup; then
             echo 'still in use by:'
             for fd in /proc/[0-9]*/fd /proc/[0-9]*/cwd; do ls -l $fd 2>/dev/null | grep -q /mnt/backup && cat ${fd%/*}/cmdline; done
             exit 1
         fi",
    );
    assert_eq!(site.start("source-etc"), Some(1));
    assert_eq!(machine.sh("systemctl show -P ExecMainStatus tik-backup-source-etc.service"), "4\n");
    site.wait_until_told("nothing is mounted at /mnt/backup");
    assert_eq!(machine.sh("ls -A /mnt/backup"), "");
}

/// The server of a file system in user space has died: every access fails, also that of systemd.
const DEAD: &str = r#"
import ctypes, os
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"dead", b"/mnt/backup", b"fuse.dead", 0, options) != 0:
    raise OSError(ctypes.get_errno(), "mount")
os.close(device)
"#;

fn a_storage_that_is_dead_and_a_history_that_is_unusable_are_told(site: &Site) {
    let machine = &site.machine;
    machine.write("/root/dead.py", 0o600, DEAD);
    machine.sh("[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; python3 /root/dead.py");
    assert!(machine.try_sh("ls /mnt/backup").0.contains("not connected"));
    let before = site.told().len();
    assert_eq!(site.start("source-etc"), Some(1));
    site.wait_until_told_since(before, "tik-backup-source-etc.service");
    machine.sh("umount --lazy /mnt/backup");

    machine.sh("rm -rf /var/lib/tik-backup && touch /var/lib/tik-backup");
    machine.sh("systemctl reset-failed 'tik-backup-*'");
    let before = site.told().len();
    assert_eq!(site.start("source-etc"), Some(1));
    site.wait_until_told_since(before, "tik-backup");
    machine.sh("rm /var/lib/tik-backup");
}

fn removal(machine: &Machine) {
    machine.sh("dpkg --purge tik-backup");
    // Directories where packages and programs leave files, except systemd's records of timers.
    let left = machine.sh(
        "find /etc /usr /lib /var/lib /run -xdev -name '*tik-backup*' -not -path '/var/lib/systemd/timers/*' -not -path '/usr/src/*'",
    );
    assert_eq!(left, "/etc/tik-backup\n");
    assert_eq!(machine.sh("ls /etc/tik-backup"), "config.toml\nsecrets\n");
    assert!(!machine.sh("systemctl list-units --all --no-legend 'tik-backup*'").contains("timer"));
}
