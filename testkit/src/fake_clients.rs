//! Client programs of a database server that fail on demand.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use tempfile::TempDir;

use crate::{MyFlavour, PgVersion, process::run_ok, program::quoted, running::Hold};

/// Client programs, of which the dump tool runs a script for chosen databases.
pub struct FakeClients {
    dir: TempDir,
}

impl FakeClients {
    /// Of PostgreSQL 15. All databases are dumped normally until [`Self::script`] sets a script.
    pub fn of_postgres() -> Self {
        let dir = directory();
        let real = PgVersion::V15.bin_dir();
        for tool in ["psql", "pg_dumpall", "pg_restore"] {
            symlink(real.join(tool), dir.path().join(tool)).unwrap();
        }
        let text = format!(
            "#!/bin/sh\n\
             dump() {{ {real}/pg_dump \"$@\"; }}\n\
             database=$(printf '%s\\n' \"$*\" | sed -n \"s/.*dbname='\\([^']*\\)'.*/\\1/p\")\n\
             if [ -n \"$database\" ] && [ -e '{here}'/\"$database.sh\" ]; then . '{here}'/\"$database.sh\"; exit; fi\n\
             exec {real}/pg_dump \"$@\"\n",
            real = real.display(),
            here = dir.path().display()
        );
        install(dir.path(), "pg_dump", &text);
        Self { dir }
    }

    /// Of MySQL or MariaDB. All databases are dumped normally until [`Self::script`] sets a script.
    pub fn of_mysql(flavour: MyFlavour) -> Self {
        Self::announcing(flavour, &format!("exec '{}' --version", flavour.bin("mysqldump").display()))
    }

    /// Of MySQL or MariaDB in another version: the dump tool prints `version`.
    pub fn of_version(flavour: MyFlavour, version: &str) -> Self {
        Self::announcing(flavour, &format!("echo '{version}'; exit"))
    }

    fn announcing(flavour: MyFlavour, version: &str) -> Self {
        let (dump, sql) = match flavour {
            MyFlavour::Mysql97 => ("mysqldump", "mysql"),
            MyFlavour::Mariadb1011 => ("mariadb-dump", "mariadb"),
        };
        let dir = directory();
        let (real, here) = (flavour.client_dir(), dir.path().display().to_string());
        let client = format!("#!/bin/sh\nexec '{}' \"$@\"\n", flavour.bin("mysql").display());
        let text = format!(
            "#!/bin/sh\n\
             case \"$*\" in *--version*) {version};; esac\n\
             dump() {{ '{real}/{dump}' \"$@\"; }}\n\
             for database; do :; done\n\
             if [ -e '{here}'/\"$database.sh\" ]; then . '{here}'/\"$database.sh\"; exit; fi\n\
             exec '{real}/{dump}' \"$@\"\n",
            real = real.display()
        );
        install(dir.path(), dump, &text);
        install(dir.path(), sql, &client);
        Self { dir }
    }

    /// The directory, for `client_dirs`.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The script that the dump tool runs from now on for a database; `dump "$@"` in it is the real tool.
    pub fn script(&self, database: &str, script: &str) {
        fs::write(self.dir.path().join(format!("{database}.sh")), script.to_owned() + "\n").unwrap();
    }

    /// Stops in the middle of the dump until released.
    pub fn hold(&self, database: &str) -> Hold {
        let hold = Hold::new(self.dir.path(), database);
        self.script(database, &format!("dump \"$@\" | {{ head -c 3000; {}; cat; }}", hold.script()));
        hold
    }

    /// The real tool dumps the database again.
    pub fn heal(&self, database: &str) {
        fs::remove_file(self.dir.path().join(format!("{database}.sh"))).unwrap();
    }

    /// The configuration's text with these tools instead of the real ones of MySQL or MariaDB.
    pub fn instead(&self, flavour: MyFlavour, toml: &str) -> String {
        let real = quoted(&flavour.client_dir().display().to_string());
        assert!(toml.contains(&real), "{toml}");
        toml.replace(&real, &quoted(&self.path().display().to_string()))
    }
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("tik-clients-").tempdir().unwrap()
}

fn install(dir: &Path, name: &str, text: &str) {
    let draft = dir.join("draft");
    fs::write(&draft, text).unwrap();
    // Copied by another process: a file this one had open for writing may be "busy" while it forks.
    run_ok(Command::new("install").args(["-m", "755"]).arg(&draft).arg(dir.join(name)), b"");
}
