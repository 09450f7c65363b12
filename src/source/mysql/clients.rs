//! The MySQL and MariaDB clients installed on this host, and the choice of one for a server. The two families differ: only a
//! client of the server's own family that is not older than the server writes complete dumps.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    stream::child::{Command, run_capture},
};

/// Directories that are searched after those of `PATH`.
const WELL_KNOWN: [&str; 5] =
    ["/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/usr/mysql/bin", "/run/current-system/sw/bin"];

/// The family of a server or client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Oracle's MySQL and what is compatible with its clients (Percona Server, Azure Database for MySQL).
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavour {
    /// The family of a server or tool, from its version text.
    pub fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::Mariadb } else { Self::Mysql }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        })
    }
}

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The first version number in a text: 8.0.41 in `8.0.41-azure`. Servers of MariaDB up to 10 may put `5.5.5-` before
    /// theirs, for old clients.
    pub fn find(text: &str) -> Option<Self> {
        let text = text.strip_prefix("5.5.5-").unwrap_or(text);
        let start = text.find(|c: char| c.is_ascii_digit())?;
        let mut numbers = text.get(start..)?.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Some(Self(major, next(), next()))
    }

    /// Major and minor: these decide whether two versions fit.
    pub fn line(self) -> (u32, u32) {
        (self.0, self.1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// One installation of the client tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its family.
    pub flavour: Flavour,
    /// Its version.
    pub version: Version,
    /// `mysqldump` or `mariadb-dump`.
    pub dump: PathBuf,
    /// The SQL client, `mysql` or `mariadb`.
    pub sql: PathBuf,
}

impl Client {
    /// Name of the dump tool.
    pub fn dump_name(&self) -> &'static str {
        match self.flavour {
            Flavour::Mysql => "mysqldump",
            Flavour::Mariadb => "mariadb-dump",
        }
    }

    fn shown(&self) -> String {
        format!("{} {} ({})", self.flavour, self.version, self.dump.display())
    }
}

/// All installations found, newest first within a family.
#[derive(Debug, Clone)]
pub struct Clients {
    found: Vec<Client>,
    searched: Vec<PathBuf>,
}

impl Clients {
    /// Searches `dirs`, or if there are none `PATH` and the usual directories. Each tool is asked for its version once.
    pub fn find(dirs: &[PathBuf]) -> Self {
        if !dirs.is_empty() {
            return Self::find_in(dirs.iter().cloned());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::find_in(std::env::split_paths(&path).chain(WELL_KNOWN.map(PathBuf::from)))
    }

    fn find_in(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut seen = BTreeSet::new();
        let mut clients = Self { found: Vec::new(), searched: Vec::new() };
        for dir in dirs {
            if clients.searched.contains(&dir) {
                continue;
            }
            for name in ["mariadb-dump", "mysqldump"] {
                // One is often a symbolic link to the other.
                let Some(real) = fs::canonicalize(dir.join(name)).ok().filter(|path| path.is_file()) else {
                    continue;
                };
                if seen.insert(real) {
                    clients.found.extend(identify(&dir, name));
                }
            }
            clients.searched.push(dir);
        }
        clients.found.sort_by_key(|client| std::cmp::Reverse(client.version));
        clients
    }

    /// All installations to try on a server of unknown family, MySQL's first: they support MySQL's authentication.
    pub fn all(&self) -> Result<Vec<&Client>> {
        let (mysql, mariadb): (Vec<_>, Vec<_>) =
            self.found.iter().partition(|client| client.flavour == Flavour::Mysql);
        let all: Vec<_> = mysql.into_iter().chain(mariadb).collect();
        if all.is_empty() {
            let searched: Vec<_> = self.searched.iter().map(|dir| dir.display().to_string()).collect();
            return Err(Error::failed(
                "no MySQL or MariaDB client tools (mysqldump and mysql, mariadb-dump and mariadb) were found",
            )
            .because_text(format!("searched {}", searched.join(", ")))
            .hint(
                "install `mariadb-client` (Debian) or `pkgs.mariadb.client` (NixOS) for a MariaDB server, MySQL's own \
                 client (`mysql-client-core` or `pkgs.mysql84`) for a MySQL server",
            ));
        }
        Ok(all)
    }

    /// The installation for a server: of its family, and of its version or the next newer one.
    pub fn choose(&self, flavour: Flavour, server: Version) -> Result<&Client> {
        let own = || self.found.iter().filter(|client| client.flavour == flavour);
        let nearest = own()
            .filter(|client| client.version.line() >= server.line())
            .min_by_key(|client| (client.version.line(), std::cmp::Reverse(client.version)));
        if let Some(client) = nearest {
            return Ok(client);
        }
        let found: Vec<_> = self.all()?.into_iter().map(Client::shown).collect();
        let why = if own().next().is_some() {
            "an older client may not know all that the server has"
        } else {
            "the other family's client leaves things out, or writes what the server cannot load"
        };
        let hint = match flavour {
            Flavour::Mysql => format!(
                "install the client of MySQL {}.{} or newer (package `mysql-client-core` or `mysql-community-client`, \
                 `pkgs.mysql84` on NixOS), or name its directory in `client_dirs`",
                server.0, server.1
            ),
            Flavour::Mariadb => format!(
                "install the client of MariaDB {}.{} or newer (`mariadb-client` on Debian, `pkgs.mariadb.client` on \
                 NixOS), or name its directory in `client_dirs`",
                server.0, server.1
            ),
        };
        Err(Error::failed(format!(
            "the server is {flavour} {server}, but the clients found are {}: {why}",
            found.join("; ")
        ))
        .hint(hint))
    }
}

/// The installation whose dump tool has this name in this directory.
fn identify(dir: &Path, name: &str) -> Option<Client> {
    let dump = dir.join(name);
    let command =
        Command::new(&dump).args(["--no-defaults", "--version"]).idle_timeout(Duration::from_secs(10));
    let text = String::from_utf8(run_capture(command, 4096).ok()?).ok()?;
    let flavour = Flavour::of(&text);
    let version = tool_version(&text)?;
    let names = match flavour {
        Flavour::Mysql => &["mysql"][..],
        Flavour::Mariadb => &["mariadb", "mysql"],
    };
    let sql = names.iter().map(|name| dir.join(name)).find(|path| path.is_file())?;
    Some(Client { flavour, version, dump, sql })
}

/// The version in the output of a tool: `mysqldump  Ver 9.7.0 for …`, `mariadb-dump from 11.4.2-MariaDB, client 10.19 for …`,
/// `mysqldump  Ver 10.19 Distrib 10.11.14-MariaDB, for …`.
fn tool_version(text: &str) -> Option<Version> {
    let after = |word: &str| text.split_once(word).map(|(_, rest)| rest);
    after(" Distrib ").or_else(|| after(" from ")).or_else(|| after(" Ver ")).and_then(Version::find)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(flavour: Flavour, version: Version) -> Client {
        let dir = PathBuf::from(format!("/{flavour}/{version}"));
        Client { flavour, version, dump: dir.join("dump"), sql: dir.join("sql") }
    }

    #[test]
    fn versions_are_read_as_tools_and_servers_print_them() {
        for (text, version) in [
            ("mysqldump  Ver 9.7.0 for Linux on x86_64 ((Debian))", Version(9, 7, 0)),
            ("mysqldump  Ver 8.0.41-0ubuntu0.22.04.1 for Linux on x86_64 ((Ubuntu))", Version(8, 0, 41)),
            ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", Version(5, 7, 44)),
            (
                "mariadb-dump  Ver 10.19 Distrib 10.11.14-MariaDB, for debian-linux-gnu (x86_64)",
                Version(10, 11, 14),
            ),
            (
                "mariadb-dump from 11.8.3-MariaDB, client 10.19 for debian-linux-gnu (x86_64)",
                Version(11, 8, 3),
            ),
        ] {
            assert_eq!(tool_version(text), Some(version), "{text}");
            assert_eq!(Flavour::of(text) == Flavour::Mariadb, text.contains("MariaDB"));
        }
        assert_eq!(Version::find("8.0.41-azure"), Some(Version(8, 0, 41)));
        assert_eq!(Version::find("5.5.5-10.3.39-MariaDB"), Some(Version(10, 3, 39)));
        assert_eq!(Version::find("none"), None);
    }

    #[test]
    fn only_a_client_of_the_family_that_is_not_older_fits() {
        use Flavour::{Mariadb, Mysql};
        let clients = Clients {
            found: vec![
                client(Mariadb, Version(11, 4, 2)),
                client(Mariadb, Version(10, 11, 14)),
                client(Mysql, Version(8, 4, 3)),
                client(Mysql, Version(8, 0, 40)),
                client(Mysql, Version(8, 0, 36)),
            ],
            searched: Vec::new(),
        };
        let chosen = |flavour, version| clients.choose(flavour, version).unwrap().version;
        assert_eq!(chosen(Mysql, Version(8, 0, 44)), Version(8, 0, 40), "the patch level does not matter");
        assert_eq!(chosen(Mysql, Version(5, 7, 44)), Version(8, 0, 40));
        assert_eq!(chosen(Mysql, Version(8, 1, 0)), Version(8, 4, 3));
        assert_eq!(chosen(Mariadb, Version(10, 11, 2)), Version(10, 11, 14));
        let error = clients.choose(Mysql, Version(9, 7, 0)).unwrap_err();
        assert!(error.summary().contains("older client"), "{error}");
        assert!(error.hint_text().unwrap().contains("MySQL 9.7"), "{error}");
        let clients = Clients { found: vec![client(Mariadb, Version(11, 4, 2))], searched: Vec::new() };
        let error = clients.choose(Mysql, Version(8, 0, 40)).unwrap_err();
        assert!(error.summary().contains("the other family's client"), "{error}");
    }

    #[test]
    fn nothing_found_names_the_packages() {
        let error = Clients::find_in([PathBuf::from("/nonexistent")]).all().unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        assert!(error.hint_text().unwrap().contains("mariadb-client"), "{error}");
    }
}
