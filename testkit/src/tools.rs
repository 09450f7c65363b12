//! Finds the programs tests need. A missing one is a visible skip, or a failure where CI says it must be there.

use std::{env, fs::OpenOptions, io::Write, path::PathBuf, thread};

use crate::process::{Owner, unprivileged};

/// A program, or a directory of programs, that `scripts/test` installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The directory of PostgreSQL 15's programs, server included.
    Pg15,
    /// The directory of PostgreSQL 18's programs, server included.
    Pg18,
    /// The oldest restic that must read our repositories.
    Restic,
    /// The newest restic.
    ResticNew,
    /// The `openssl` program, for certificates.
    Openssl,
    /// MariaDB's server program; its clients are in the directory `bin` beside its own.
    Mariadb,
    /// The directory of MySQL 9.7's programs, server included.
    Mysql97,
    /// MongoDB's own server if it is installed, otherwise one that speaks its protocol.
    Mongo,
    /// The server that speaks MongoDB's protocol, even if MongoDB's own is installed.
    MongoCompatible,
    /// MongoDB's own server, `mongod` of any version. Nothing installs it, not even in CI.
    Mongod,
    /// The router of MongoDB's sharded clusters, `mongos`. Nothing installs it either.
    Mongos,
    /// The directory in whose `node_modules` Azurite lies, an emulator of Azure's blob service.
    Azurite,
    /// A Python with Microsoft's own clients of Azure.
    AzurePython,
    /// The library that sets a program's clock.
    Faketime,
    /// Prometheus' checker of metrics.
    Promtool,
    /// Starts containers with a systemd of their own.
    Nspawn,
    /// Evaluates Nix files.
    Nix,
    /// The Debian package of the program. Asking for its path makes it, with cargo-deb.
    Package,
    /// The directory in whose `node_modules` lie playwright-core and axe-core; Chromium is the system's.
    Browser,
    /// Tries an interface against its description.
    Schemathesis,
    /// The library of the extension pg_cron for PostgreSQL 15.
    PgCron,
    /// The library of the extension pgaudit for PostgreSQL 15.
    PgAudit,
    /// PostGIS for PostgreSQL 15.
    Postgis,
    /// The extension pg_partman for PostgreSQL 15.
    Partman,
    /// A connection pooler for PostgreSQL.
    Pgbouncer,
    /// A user-mode Linux kernel.
    Uml,
    /// A server of the SMB protocol.
    Samba,
    /// Mounts CIFS shares.
    CifsUtils,
    /// Loads modules into a kernel.
    Kmod,
    /// Mounts a directory over SSH.
    Sshfs,
    /// The directory of MongoDB's own `mongodump` and `mongorestore`. Nothing installs them, not even in CI.
    MongoTools,
}

impl Tool {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pg15 => "PostgreSQL 15",
            Self::Pg18 => "PostgreSQL 18",
            Self::Restic => "restic",
            Self::ResticNew => "the newest restic",
            Self::Openssl => "openssl",
            Self::Mariadb => "MariaDB",
            Self::Mysql97 => "MySQL 9.7",
            Self::Mongo => "a MongoDB server",
            Self::MongoCompatible => "a server that speaks MongoDB's protocol",
            Self::Mongod => "MongoDB itself",
            Self::Mongos => "MongoDB's router",
            Self::Azurite => "Azurite",
            Self::AzurePython => "Microsoft's clients of Azure",
            Self::Faketime => "faketime",
            Self::Promtool => "promtool",
            Self::Nspawn => "systemd-nspawn",
            Self::Nix => "nix-instantiate",
            Self::Package => "the Debian package",
            Self::Browser => "a browser",
            Self::Schemathesis => "schemathesis",
            Self::PgCron => "pg_cron",
            Self::PgAudit => "pgaudit",
            Self::Postgis => "PostGIS",
            Self::Partman => "pg_partman",
            Self::Pgbouncer => "pgbouncer",
            Self::Uml => "a user-mode Linux kernel",
            Self::Samba => "Samba",
            Self::CifsUtils => "mount.cifs",
            Self::Kmod => "modprobe",
            Self::Sshfs => "sshfs",
            Self::MongoTools => "mongodump and mongorestore",
        }
    }

    /// The environment variable that `scripts/lib.sh` sets, the place below the tools directory, the system's place.
    fn places(self) -> (&'static str, Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Pg15 => ("TIK_BACKUP_TEST_PG15", None, Some("/usr/lib/postgresql/15/bin")),
            Self::Pg18 => ("TIK_BACKUP_TEST_PG18", Some("pg18/bin"), None),
            Self::Restic => ("TIK_BACKUP_TEST_RESTIC", None, Some("/usr/bin/restic")),
            Self::ResticNew => ("TIK_BACKUP_TEST_RESTIC_NEW", Some("restic-new/restic"), None),
            Self::Openssl => ("TIK_BACKUP_TEST_OPENSSL", None, Some("/usr/bin/openssl")),
            Self::Mariadb => ("TIK_BACKUP_TEST_MARIADB", None, Some("/usr/sbin/mariadbd")),
            Self::Mysql97 => ("TIK_BACKUP_TEST_MYSQL97", Some("mysql97/bin"), None),
            Self::Mongo | Self::MongoCompatible => {
                ("TIK_BACKUP_TEST_MONGO", Some("mongo/bin/secantusd-rs"), None)
            }
            Self::Mongod => ("TIK_BACKUP_TEST_MONGOD", None, None),
            Self::Mongos => ("TIK_BACKUP_TEST_MONGOS", None, None),
            Self::Azurite => ("TIK_BACKUP_TEST_AZURITE", Some("azurite"), None),
            Self::AzurePython => ("TIK_BACKUP_TEST_AZURE_PYTHON", Some("azure-python/bin/python"), None),
            Self::Faketime => (
                "TIK_BACKUP_TEST_FAKETIME",
                None,
                Some("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
            ),
            Self::Promtool => ("TIK_BACKUP_TEST_PROMTOOL", Some("promtool/usr/bin/promtool"), None),
            Self::Nspawn => ("TIK_BACKUP_TEST_NSPAWN", None, Some("/usr/bin/systemd-nspawn")),
            Self::Nix => ("TIK_BACKUP_TEST_NIX", None, Some("/usr/bin/nix-instantiate")),
            Self::Package => ("TIK_BACKUP_TEST_PACKAGE", None, None),
            Self::Browser => ("TIK_BACKUP_TEST_BROWSER", Some("browser"), None),
            Self::Schemathesis => {
                ("TIK_BACKUP_TEST_SCHEMATHESIS", Some("schemathesis/bin/schemathesis"), None)
            }
            Self::PgCron => ("TIK_BACKUP_TEST_PG_CRON", None, Some("/usr/lib/postgresql/15/lib/pg_cron.so")),
            Self::PgAudit => ("TIK_BACKUP_TEST_PGAUDIT", None, Some("/usr/lib/postgresql/15/lib/pgaudit.so")),
            Self::Postgis => {
                ("TIK_BACKUP_TEST_POSTGIS", None, Some("/usr/share/postgresql/15/extension/postgis.control"))
            }
            Self::Partman => (
                "TIK_BACKUP_TEST_PARTMAN",
                None,
                Some("/usr/share/postgresql/15/extension/pg_partman.control"),
            ),
            Self::Pgbouncer => ("TIK_BACKUP_TEST_PGBOUNCER", Some("pgbouncer/run"), None),
            Self::Uml => ("TIK_BACKUP_TEST_UML", None, Some("/usr/bin/linux.uml")),
            Self::Samba => ("TIK_BACKUP_TEST_SAMBA", None, Some("/usr/sbin/smbd")),
            Self::CifsUtils => ("TIK_BACKUP_TEST_CIFS_UTILS", None, Some("/usr/sbin/mount.cifs")),
            Self::Kmod => ("TIK_BACKUP_TEST_KMOD", None, Some("/usr/sbin/modprobe")),
            Self::Sshfs => ("TIK_BACKUP_TEST_SSHFS", None, Some("/usr/bin/sshfs")),
            Self::MongoTools => ("TIK_BACKUP_TEST_MONGO_TOOLS", None, None),
        }
    }

    /// Its path, if it is installed.
    pub fn path(self) -> Option<PathBuf> {
        if self == Self::Mongo
            && let Some(real) = Self::Mongod.path()
        {
            return Some(real);
        }
        let (variable, below_tools, system) = self.places();
        if let Some(path) = env::var_os(variable) {
            return Some(PathBuf::from(path)).filter(|path| path.exists());
        }
        if self == Self::Package {
            return crate::debian::package();
        }
        let below_tools =
            below_tools.into_iter().flat_map(|below| tools_dirs().map(move |dir| dir.join(below)));
        let program = match self {
            Self::Mongod => Some("mongod"),
            Self::Mongos => Some("mongos"),
            _ => None,
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let in_path =
            program.into_iter().flat_map(|name| env::split_paths(&path).map(move |dir| dir.join(name)));
        below_tools.chain(system.map(PathBuf::from)).chain(in_path).find(|path| path.exists())
    }

    /// Whether it is installed; if not, reports that the test is skipped.
    ///
    /// # Panics
    /// If it is missing and CI promises that it is installed.
    #[must_use]
    pub fn or_skip(self) -> bool {
        let there = self.path().is_some();
        if !there && self == Self::MongoTools {
            skip("mongodump and mongorestore: install MongoDB's database tools, then run scripts/test");
        } else if !there && self == Self::Mongod {
            skip("MongoDB itself: set TIK_BACKUP_TEST_MONGOD to its program mongod, or put that in PATH");
        } else if !there && self == Self::Mongos {
            skip("MongoDB's router: set TIK_BACKUP_TEST_MONGOS to the program mongos, or put that in PATH");
        } else if !there {
            assert!(!in_ci(), "CI must have {}: scripts/test installs it", self.name());
            skip(&format!("{}: install with scripts/test", self.name()));
        }
        there
    }
}

/// Where `scripts/lib.sh` keeps tools: root's differs, because servers run as a user who cannot access root's home.
pub(crate) fn tools_dirs() -> impl Iterator<Item = PathBuf> {
    let chosen = env::var_os("TIK_BACKUP_TOOLS").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/tik-backup-tools"));
    chosen.into_iter().chain([PathBuf::from("/var/cache/tik-backup-tools")]).chain(home)
}

/// Whether tools that can be installed must be there.
pub fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
}

/// Whether long measurements are requested in full: `scripts/test --stress`.
pub fn stress() -> bool {
    env::var_os("TIK_BACKUP_TEST_STRESS").is_some_and(|value| value == "1")
}

/// Whether long measurements are requested; if not, reports that the test, or the rest of it, is skipped.
#[must_use]
pub fn stress_or_skip() -> bool {
    if !stress() {
        skip("several minutes: scripts/test --stress");
    }
    stress()
}

/// The user that servers run as where the test is root; otherwise reports that the test is skipped.
#[must_use]
pub fn root_or_skip() -> Option<Owner> {
    let owner = unprivileged();
    if owner.is_none() {
        skip("root, to run something as another user");
    }
    owner
}

/// Reports that this test is skipped because something is missing, on stderr and in the list `scripts/test` shows at the
/// end: test runners hide what passing tests print.
pub fn skip(needs: &str) {
    let test = env::var("NEXTEST_TEST_NAME")
        .ok()
        .or_else(|| thread::current().name().map(str::to_owned))
        .unwrap_or_default();
    let line = format!("SKIPPED: test {test} needs {needs}\n");
    eprint!("{line}");
    if let Some(list) = env::var_os("TIK_BACKUP_TEST_SKIPS") {
        let opened = OpenOptions::new().create(true).append(true).open(list);
        opened.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skipped tests");
    }
}

/// Leaves the test, visibly, unless every given [`Tool`] is installed: `skip_unless!(Tool::Pg15, Tool::Restic);`
#[macro_export]
macro_rules! skip_unless {
    ($($tool:expr),+ $(,)?) => {
        $(if !$tool.or_skip() {
            return;
        })+
    };
}
