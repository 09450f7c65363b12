//! A machine that is laid out as NixOS is: programs in a store, clients on the path of the units alone, secrets as sops-nix
//! lays them, a storage box that is mounted when something looks into it.
//!
//! The units come from `nix/modules/backup/units.nix`, which takes no nixpkgs; the rest of the module is written out here as
//! NixOS would have it.

use std::fs;

use serde_json::Value;
use testkit::{bin, project, receiver::Receiver, skip};

use super::{
    evaluation,
    machine::Machine,
    package::{Site, free_port},
};

/// The beginning of all store paths here: a made-up hash.
pub const STORE: &str = "/nix/store/0c9fsbmn0y6dmkhyirzbmhl4a9p5rbkx";
const CONFIGURATION: &str = "/nix/store/0c9fsbmn0y6dmkhyirzbmhl4a9p5rbkx-tik-backup-config.toml";
const PROGRAM: &str = "/nix/store/0c9fsbmn0y6dmkhyirzbmhl4a9p5rbkx-tik-backup/bin/tik-backup";
/// The entries of a unit's path, in NixOS' order: those of the module, then those that NixOS gives to every unit.
const PACKAGES: [&str; 3] = ["postgresql-15", "mariadb-server-10.11", "coreutils-9.7"];

/// Stock tools for comparison are on the path of root's scripts, and not on that of a unit.
const ROOT: &str = "
set -e
store=/nix/store/0c9fsbmn0y6dmkhyirzbmhl4a9p5rbkx
export PATH=$store-tik-backup/bin:$store-postgresql-15/bin:$store-mariadb-server-10.11/bin:$PATH
export LOCALE_ARCHIVE=$store-glibc-locales/lib/locale/locale-archive
export RESTIC_PASSWORD_FILE=/run/secrets/backup-restic-password RESTIC_REPOSITORY=/mnt/backup/restic-repo
restic() { command restic --no-cache --no-lock --quiet \"$@\"; }
socket=/run/mysqld/mysqld.sock
wiki() { mariadb --no-defaults --socket $socket --batch --skip-column-names \"$@\"; }
discourse() { psql -X -q -A -t -v ON_ERROR_STOP=1 -h /run/postgresql -p $(cat /root/port) -U postgres \"$@\"; }
";

/// Moves the servers and their clients into a store; none of them stays at Debian's paths.
const LAYOUT: &str = r#"
pg=$store-postgresql-15 my=$store-mariadb-server-10.11 tools=$store-coreutils-9.7 locales=$store-glibc-locales
mkdir -p $pg/lib/postgresql $pg/share/postgresql $my/bin $my/share $tools/bin $locales/lib/locale $store-tik-backup/bin
mv /usr/lib/postgresql/15 $pg/lib/postgresql/
# Some of its files are links to the place it leaves.
cp -r --dereference --preserve=mode /usr/share/postgresql/15 $pg/share/postgresql/
ln -s lib/postgresql/15/bin $pg/bin
for name in mariadb mariadb-dump mariadb-install-db my_print_defaults resolveip; do
    [ ! -e /usr/bin/$name ] || mv /usr/bin/$name $my/bin/
done
mv /usr/sbin/mariadbd $my/bin/
ln -s bin $my/sbin
cp -a /usr/share/mysql $my/share/
# A program that is built for the store knows its own place.
sed -i "s,/usr/\(bin\|sbin\|share\|lib\),$my/\1,g; s,basedir=\"/usr\",basedir=\"$my\"," $my/bin/mariadb-install-db
rm -rf /usr/lib/postgresql /usr/share/postgresql/15
find /usr/bin /usr/sbin -regex '.*/\(pg_.*\|psql\|createdb\|initdb\|mysql.*\|mariadb.*\)' -delete
for name in cat chmod chown cp date dirname basename id ln ls mkdir mktemp mv rm sleep stat touch tr true uname find \
    grep sed journalctl systemctl; do
    ln -s /usr/bin/$name $tools/bin/$name
done
# The C library of NixOS finds locales where LOCALE_ARCHIVE says, and nowhere else; Debian's where LOCPATH says.
cp -a /usr/lib/locale/C.utf8 $locales/lib/locale/fi_FI.utf8
cd $pg/bin
mv postgres .postgres-wrapped
cat >postgres <<END
#!/bin/sh
[ -z "\$LOCALE_ARCHIVE" ] || export LOCPATH="\${LOCALE_ARCHIVE%/*}"
exec $pg/bin/.postgres-wrapped "\$@"
END
chmod 555 postgres
# Users and folders of the system, as NixOS makes them.
groupadd --system keys
user() { id "$1" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$@"; }
user tik-backup --home-dir /var/lib/tik-backup
user mysql
user discourse
mkdir -p /etc/static/tik-backup /etc/tik-backup
ln -s $store-tik-backup-config.toml /etc/static/tik-backup/config.toml
ln -s /etc/static/tik-backup/config.toml /etc/tik-backup/config.toml
# sops-nix: a file system in memory, a generation in it, and a link to that.
mkdir /run/secrets.d
mount -t ramfs -o mode=0751 ramfs /run/secrets.d
mkdir -m 751 /run/secrets.d/1
chown root:keys /run/secrets.d /run/secrets.d/1
ln -s /run/secrets.d/1 /run/secrets
"#;

/// A PostgreSQL whose databases have a locale, its role for backups as discourse.nix makes it, and a MariaDB.
const SERVERS: &str = r#"
port=$(cat /root/port)
install -d -o postgres -g postgres /var/lib/pg /run/postgresql
install -d -o mysql -g mysql /var/lib/my /run/mysqld
runuser -u postgres -- $(command -v initdb) -D /var/lib/pg/data -A trust --no-sync --locale=C -E UTF8 >/dev/null
cat >/var/lib/pg/data/pg_hba.conf <<'END'
local all postgres trust
local all all peer
END
cat >>/var/lib/pg/data/postgresql.conf <<END
listen_addresses = ''
port = $port
unix_socket_directories = '/run/postgresql'
fsync = off
END
systemd-run --quiet --unit=pg --uid=postgres --service-type=notify --setenv=LOCALE_ARCHIVE=$LOCALE_ARCHIVE \
    $(command -v postgres) -D /var/lib/pg/data
discourse -d postgres <<'END'
CREATE DATABASE discourse TEMPLATE template0 LOCALE 'fi_FI.UTF-8';
CREATE ROLE "tik-backup" LOGIN;
GRANT pg_read_all_data TO "tik-backup";
END
discourse -d discourse -c 'CREATE TABLE posts AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) n'
mariadb-install-db --no-defaults --datadir=/var/lib/my/data --user=mysql --skip-test-db --skip-name-resolve >/dev/null
systemd-run --quiet --unit=my --uid=mysql --service-type=notify $(command -v mariadbd) --no-defaults \
    --datadir=/var/lib/my/data --socket=$socket --skip-networking --innodb-flush-log-at-trx-commit=0
wiki <<'END'
CREATE DATABASE wiki;
USE wiki;
CREATE TABLE pages (n INT PRIMARY KEY, text VARCHAR(40));
INSERT INTO pages SELECT seq, MD5(seq) FROM seq_1_to_3000;
CREATE USER 'tik-backup'@localhost IDENTIFIED VIA unix_socket;
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, SHOW DATABASES, RELOAD, PROCESS ON *.* TO 'tik-backup'@localhost;
END
install -d -m 700 -o discourse -g discourse /var/lib/discourse /var/lib/discourse/uploads
echo 'an upload' >/var/lib/discourse/uploads/picture
echo 'a file for root alone' >/var/lib/discourse/uploads/private
chown discourse: /var/lib/discourse/uploads/picture
chmod 600 /var/lib/discourse/uploads/private
"#;

/// A storage box that is a directory in memory. As with CIFS, all files belong to the user of `uid=`, the content outlives
/// the mount, and mounting fails without the credentials or while the box is away.
const BOX: &str = r#"
mkdir -p /srv/box
mount -t tmpfs -o uid=tik-backup,gid=tik-backup,mode=0700 tmpfs /srv/box
touch /srv/there
cat >/usr/sbin/mount.cifs <<'END'
#!/bin/sh
if [ ! -e /srv/there ] || ! grep -q ^password= /run/secrets/storagebox-credentials; then
    echo "mount error(113): could not connect to $1" >&2
    exit 32
fi
exec mount --bind /srv/box "$2"
END
chmod 755 /usr/sbin/mount.cifs
cat >/etc/fstab <<'END'
//u123456.your-storagebox.de/backup /mnt/backup cifs _netdev,noauto,nofail,x-systemd.automount,x-systemd.idle-timeout=2,x-systemd.mount-timeout=60,credentials=/run/secrets/storagebox-credentials,uid=tik-backup,gid=tik-backup,forceuid,forcegid,file_mode=0600,dir_mode=0700,vers=3,seal,hard 0 0
END
# The store can only be read.
mount -o bind,ro /nix/store /nix/store
# Systemd remembers from its start that it could not mount on demand.
[ -e /dev/autofs ] || mknod /dev/autofs c 10 235
systemctl daemon-reexec
systemctl start mnt-backup.automount
for timer in /etc/systemd/system/tik-backup-*.timer; do
    systemctl add-wants --quiet timers.target "${timer##*/}"
done
systemctl start timers.target
# Looks for secrets in what every user may see of a process, and in what root sees besides.
systemd-run --quiet --unit=onlooker bash -c '
    while true; do
        grep -lsaF -f /root/patterns /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>/root/seen
        sleep 0.1
    done'
"#;

/// The module's configuration for a Discourse on the host, a wiki and a webhook.
fn configuration(port: u16) -> String {
    format!(
        r#"
state_dir = "/var/lib/tik-backup"

[repository]
location = "/mnt/backup/restic-repo"
password_file = "/run/secrets/backup-restic-password"
mount = "/mnt/backup"
host = "guild"
min_free = "1MiB"

[sources.discourse]
kind = "postgres"
host = "/run/postgresql"
port = {port}
user = "tik-backup"
databases = ["discourse"]
role_passwords = "never"
schedule = "03:30"

[sources.discourse-uploads]
kind = "directory"
paths = ["/var/lib/discourse/uploads"]
schedule = "03:30"

[sources.wiki]
kind = "mysql"
host = "/run/mysqld/mysqld.sock"
user = "tik-backup"
databases = ["wiki"]
schedule = "02:30"

[drill]
server_dirs = ["{STORE}-postgresql-15/bin", "{STORE}-mariadb-server-10.11/bin"]

[systemd]
user = "tik-backup"
group = "tik-backup"

[[alerts]]
kind = "webhook"
url_file = "/run/secrets/backup-alerting-webhook-url"
tries = 1
"#
    )
}

/// The units of a configuration as NixOS writes them: a list is a key that is repeated, what the module gives as `path` is
/// the unit's PATH, and whatever has `wantedBy` is linked elsewhere instead of having a section for it.
fn units(configuration: &str) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, configuration).unwrap();
    let source = project().join("nix/modules/backup/units.nix");
    let units = evaluation::value(&format!(
        "import {} {{ settings = builtins.fromTOML (builtins.readFile {}); executable = \"{PROGRAM}\"; configFile = \"{CONFIGURATION}\"; }}",
        source.display(),
        file.display(),
    ));
    let rendered = |(name, sections): (&String, &Value)| (name.clone(), unit(sections));
    units.as_object().unwrap().iter().map(rendered).collect()
}

fn unit(sections: &Value) -> String {
    let folders = |kind: &str| PACKAGES.map(|name| format!("{STORE}-{name}/{kind}")).join(":");
    let mut text = String::new();
    for (section, settings) in sections.as_object().unwrap().iter().filter(|(name, _)| *name != "Install") {
        text.push_str(&format!("[{section}]\n"));
        if section == "Service" {
            text.push_str(&format!(
                "Environment=\"LOCALE_ARCHIVE={STORE}-glibc-locales/lib/locale/locale-archive\"\nEnvironment=\"PATH={}:{}\"\nEnvironment=\"TZDIR={STORE}-tzdata/share/zoneinfo\"\n",
                folders("bin"),
                folders("sbin"),
            ));
        }
        for (key, value) in settings.as_object().unwrap() {
            let values = value.as_array().map_or_else(|| vec![value], |values| values.iter().collect());
            for value in values {
                text.push_str(&format!("{key}={}\n", value.as_str().unwrap()));
            }
        }
        text.push('\n');
    }
    text
}

/// Runs a script with root's programs; it must succeed. Its stdout.
#[track_caller]
pub fn run(machine: &Machine, script: &str) -> String {
    machine.sh(&format!("{ROOT}{script}"))
}

/// The machine with all of it, running.
pub fn site() -> Option<Site> {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    if !kinds.lines().any(|line| line.ends_with("\tautofs")) {
        skip("a kernel that mounts on demand (autofs)");
        return None;
    }
    let machine = Machine::boot()?;
    let receiver = Receiver::start();
    let port = free_port();
    let configuration = configuration(port);
    machine.write("/root/port", 0o600, &port.to_string());
    run(&machine, LAYOUT);
    machine.copy(&bin(), PROGRAM);
    machine.sh(&format!("chmod 555 {PROGRAM}"));
    machine.write(CONFIGURATION, 0o444, &configuration);
    for (name, text) in units(&configuration) {
        machine.write(&format!("/etc/systemd/system/{name}"), 0o444, &text);
    }
    let secrets = [
        ("backup-restic-password", "the password of the guild's repository".to_owned()),
        ("backup-alerting-webhook-url", receiver.url("/hooks/of-the-guild")),
        ("storagebox-credentials", "username=u123456\npassword=that of the box\n".to_owned()),
    ];
    for (name, text) in &secrets {
        machine.write(&format!("/run/secrets.d/1/{name}"), 0o400, text);
    }
    let patterns = "the password of the guild's repository\n/hooks/of-the-guild\nthat of the box\n";
    machine.write("/root/patterns", 0o600, patterns);
    machine.write("/root/seen", 0o600, "");
    run(&machine, SERVERS);
    run(&machine, BOX);
    Some(Site { machine, receiver })
}
