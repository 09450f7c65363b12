//! The units of the module for NixOS, with a PostgreSQL, a MariaDB and a storage box, on a machine that is laid out as NixOS is.

use serde_json::Value;
use testkit::{Tool, skip_unless};

use super::{
    machine::Machine,
    nixos_host::{STORE, run, site},
    package::Site,
};

#[test]
fn the_units_of_the_module_work_on_a_machine_like_nixos() {
    skip_unless!(Tool::Pg15, Tool::Mariadb, Tool::Restic, Tool::Nix);
    let Some(site) = site() else { return };
    nothing_but_the_units_reaches_clients_and_secrets(&site.machine);
    everything_is_backed_up_and_proven(&site);
    stock_tools_and_the_program_give_back_what_there_was(&site.machine);
    a_box_that_is_away_is_told_and_one_that_is_back_is_used(&site);
    secrets_were_seen_nowhere(&site.machine);
}

fn nothing_but_the_units_reaches_clients_and_secrets(machine: &Machine) {
    for name in ["tik-backup", "pg_dump", "psql", "mariadb-dump", "mysqldump", "mariadbd"] {
        assert_eq!(machine.try_sh(&format!("command -v {name}")), (String::new(), Some(1)), "{name}");
    }
    let peek = "runuser -u tik-backup -- cat /run/secrets/backup-restic-password";
    assert!(machine.try_sh(peek).0.contains("Permission denied"));
    assert!(machine.try_sh(&format!("touch {STORE}-new")).0.contains("Read-only file system"));
    let timers = machine.sh("systemctl list-timers --no-legend --plain 'tik-backup-*'");
    for name in
        ["source-discourse", "source-discourse-uploads", "source-wiki", "drill", "check", "prune", "watch"]
    {
        assert!(timers.contains(&format!("tik-backup-{name}.timer")), "{name} in {timers}");
    }
}

/// Waits until nothing is mounted, without accessing the directory, which would keep the mount.
const UNMOUNTED: &str = r#"
for _ in $(seq 150); do
    grep -q ' /mnt/backup .* tmpfs ' /proc/self/mountinfo || exit 0
    sleep 0.2
done
echo 'what nobody uses is still mounted' >&2
exit 1
"#;

fn everything_is_backed_up_and_proven(site: &Site) {
    let machine = &site.machine;
    machine.sh("systemctl start tik-backup-init.service");
    // This backup waits for a table longer than an unused mount is kept.
    run(
        machine,
        "locks() {
             for _ in $(seq 300); do
                 discourse -d discourse -c \"SELECT count(*) FROM pg_locks WHERE relation = 'posts'::regclass AND $1\" |
                     grep -q '[1-9]' && return
                 sleep 0.1
             done
             echo \"no lock: $1\" >&2
             exit 1
         }
         discourse -d discourse -c 'BEGIN; LOCK TABLE posts; SELECT pg_sleep(600); COMMIT' >/dev/null 2>&1 &
         locks \"mode = 'AccessExclusiveLock' AND granted\"
         systemctl start tik-backup-source-discourse.service &
         backup=$!
         locks 'NOT granted'
         sleep 4
         discourse -d discourse -c \"SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE relation = 'posts'::regclass AND mode = 'AccessExclusiveLock' AND granted\" >/dev/null
         wait $backup",
    );
    // An unused mount is unmounted, and mounted again on access.
    machine.sh(UNMOUNTED);
    for unit in ["source-discourse-uploads", "source-wiki", "drill", "check", "prune", "watch"] {
        machine.sh(&format!("systemctl start tik-backup-{unit}.service"));
    }
    let journal = machine.sh("journalctl --no-pager --output cat --unit tik-backup-drill.service");
    let proven = ["discourse/discourse", "discourse-uploads/uploads", "wiki/wiki"];
    assert!(proven.iter().all(|item| journal.contains(&format!("{item}: proven: "))), "{journal}");
    assert!(!journal.contains("not confined"), "{journal}");

    let status: Value = serde_json::from_str(&run(machine, "tik-backup --json status")).unwrap();
    let summary = &status["summary"];
    for (name, expected) in [("expected", 5), ("backed_up", 5), ("proven", 5), ("problems", 0)] {
        assert_eq!(summary[name], expected, "{name}: {status:#}");
    }
    assert_eq!(machine.sh("find /mnt/backup /var/lib/tik-backup ! -user tik-backup"), "");
}

fn stock_tools_and_the_program_give_back_what_there_was(machine: &Machine) {
    run(machine, "restic check --read-data && find /mnt/backup -path '*/locks/*' | (! grep .)");
    run(
        machine,
        "restic restore latest --path /discourse-uploads/uploads --target /root/stock
         diff -r /var/lib/discourse/uploads /root/stock/discourse-uploads/uploads/files
         stat -c '%U %a' /var/lib/discourse/uploads/* >/root/before
         stat -c '%U %a' /root/stock/discourse-uploads/uploads/files/* | diff /root/before -",
    );
    run(
        machine,
        "tik-backup restore discourse/discourse \\
             --into \"postgres://postgres@/by_program?host=/run/postgresql&port=$(cat /root/port)\"
         tik-backup restore wiki/wiki --into \"mysql://root@localhost/by_program?socket=$socket\"
         discourse -d postgres -c 'CREATE DATABASE by_restic TEMPLATE template0'
         restic dump latest --path /discourse/discourse /discourse/discourse/database.dump >/root/dump
         pg_restore -f - /root/dump | discourse -d by_restic >/dev/null
         wiki -e 'CREATE DATABASE by_restic'
         restic dump latest --path /wiki/wiki /wiki/wiki/database.sql | wiki by_restic",
    );
    let posts = |database: &str| {
        let query = "SELECT count(*), md5(string_agg(n || text, ',' ORDER BY n)) FROM posts";
        run(machine, &format!("discourse -d {database} -c \"{query}\""))
    };
    let pages = |database: &str| {
        let query = "SELECT COUNT(*), SUM(CRC32(CONCAT(n, text))) FROM pages";
        run(machine, &format!("wiki {database} -e '{query}'"))
    };
    let (discourse, wiki) = (posts("discourse"), pages("wiki"));
    assert!(discourse.starts_with("5000|") && wiki.starts_with("3000\t"), "{discourse}{wiki}");
    for copy in ["by_program", "by_restic"] {
        assert_eq!((posts(copy), pages(copy)), (discourse.clone(), wiki.clone()), "{copy}");
    }
    let locale = "SELECT datcollate FROM pg_database WHERE datname = 'by_program'";
    assert_eq!(run(machine, &format!("discourse -d postgres -c \"{locale}\"")), "fi_FI.UTF-8\n");
}

fn a_box_that_is_away_is_told_and_one_that_is_back_is_used(site: &Site) {
    let machine = &site.machine;
    machine.sh(UNMOUNTED);
    machine.sh("rm /srv/there");
    let before = site.told().len();
    assert_eq!(site.start("source-wiki"), Some(1));
    assert_eq!(machine.sh("systemctl show -P ExecMainStatus tik-backup-source-wiki.service"), "4\n");
    site.wait_until_told_since(before, "nothing is mounted at /mnt/backup");
    // Below what is mounted on demand.
    machine.sh("systemctl stop mnt-backup.automount");
    assert_eq!(machine.sh("ls -A /mnt/backup"), "");

    // By the next night the limit of starts has passed. Nobody has started what mounts on demand: the unit itself wants
    // the mount.
    machine.sh("touch /srv/there; systemctl reset-failed");
    let before = site.told().len();
    assert_eq!(site.start("source-wiki"), Some(0));
    site.wait_until_told_since(before, "RESOLVED");
}

fn secrets_were_seen_nowhere(machine: &Machine) {
    assert_eq!(machine.sh("cat /root/seen"), "", "processes with a secret in their arguments or environment");
    // The process that watches would have seen it.
    machine.sh("head -n 1 /root/patterns >/root/first
         for _ in $(seq 100); do
             bash -c 'exec -a \"$(cat /root/first)\" sleep 0.3'
             [ -s /root/seen ] && exit 0
         done
         exit 1");
    let found = "
        grep -rslF -f /root/patterns /etc/systemd /run/systemd /etc/static/ /etc/tik-backup/ /nix/store/*.toml
        systemctl show 'tik-backup-*' | grep -F -f /root/patterns
        journalctl --no-pager --output cat | grep -F -f /root/patterns";
    assert_eq!(machine.try_sh(found), (String::new(), Some(1)));
}
