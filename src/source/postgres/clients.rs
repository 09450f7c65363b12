//! The PostgreSQL clients installed on this host, and the choice of one for a server: the same major version is best, because
//! servers refuse older clients, and the server's own tools may not load dumps of newer ones.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    error::{Error, Result},
    stream::child::{Command, run_capture},
};

/// Directories of well-known distributions; a `*` stands for any text within one directory name.
const WELL_KNOWN: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/run/current-system/sw/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/opt/homebrew/opt/libpq/bin",
];
/// The tools that a directory must contain.
const TOOLS: [&str; 4] = ["pg_dump", "pg_dumpall", "pg_restore", "psql"];

/// One installation of the client tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The directory of the tools.
    pub dir: PathBuf,
    /// The major version: 15 for 15.3. Before version 10 it is the first number alone: 9 for 9.6.
    pub major: u32,
    /// The version as the tools print it, such as `15.3 (Debian 15.3-1)`.
    pub version_text: String,
}

impl Client {
    /// The path of one of its tools.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether the directory holds all these tools, such as `initdb` and `postgres` for a scratch server.
    pub fn has(&self, tools: &[&str]) -> bool {
        tools.iter().all(|tool| self.tool(tool).is_file())
    }
}

/// All installations found: newest first, and in search order within a version.
#[derive(Debug, Clone)]
pub struct Clients {
    found: Vec<Client>,
    searched: Vec<PathBuf>,
}

impl Clients {
    /// Searches `dirs`, or if there are none `PATH` and then the directories of well-known distributions. The version of each
    /// installation is queried once. Debian's wrapper scripts in `/usr/bin` are skipped in favour of the real tools.
    pub fn find(dirs: &[PathBuf]) -> Self {
        if !dirs.is_empty() {
            return Self::find_in(dirs.iter().cloned());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let well_known = WELL_KNOWN.iter().flat_map(|pattern| expand(pattern));
        Self::find_in(std::env::split_paths(&path).chain(well_known))
    }

    fn find_in(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut seen = BTreeSet::new();
        let mut clients = Self { found: Vec::new(), searched: Vec::new() };
        for dir in dirs {
            if clients.searched.contains(&dir) {
                continue;
            }
            if let Some(pg_dump) = real_tool(&dir.join("pg_dump"))
                && seen.insert(pg_dump)
            {
                clients.found.extend(identify(&dir));
            }
            clients.searched.push(dir);
        }
        clients.found.sort_by_key(|client| std::cmp::Reverse(client.major));
        clients
    }

    /// All installations, newest first.
    pub fn all(&self) -> &[Client] {
        &self.found
    }

    /// The newest, for a server of unknown version. Fails if there is none.
    pub fn newest(&self) -> Result<&Client> {
        self.found.first().ok_or_else(|| {
            let searched: Vec<_> = self.searched.iter().map(|dir| dir.display().to_string()).collect();
            Error::failed("no PostgreSQL client tools (pg_dump, pg_restore, psql) were found")
                .because_text(format!("searched {}", searched.join(", ")))
                .hint("install `postgresql-client` (Debian) or add `pkgs.postgresql` (NixOS) to the service's path")
        })
    }

    /// The installation for a server of this major version: the same version, else the next newer one.
    pub fn choose(&self, server_major: u32) -> Result<&Client> {
        self.choose_with(server_major, &[])
    }

    /// As [`Clients::choose`], among the installations that hold these tools as well.
    pub fn choose_with(&self, server_major: u32, tools: &[&str]) -> Result<&Client> {
        // The lowest version that is not older than the server; within a version the first in search order.
        let fits = |client: &&Client| client.major >= server_major && client.has(tools);
        if let Some(nearest) = self.found.iter().filter(fits).map(|client| client.major).min() {
            let found = self.found.iter().filter(fits).find(|client| client.major == nearest);
            return found.ok_or_else(|| Error::failed("no PostgreSQL client tools fit"));
        }
        let newest = self.newest()?;
        let (what, package) = if tools.is_empty() {
            (format!("the server is PostgreSQL {server_major}"), "postgresql-client")
        } else {
            (format!("{} of PostgreSQL {server_major} or newer are needed", tools.join(", ")), "postgresql")
        };
        let found: Vec<_> = self
            .found
            .iter()
            .map(|client| format!("{} in {}", client.version_text, client.dir.display()))
            .collect();
        let reason = if newest.major < server_major {
            "which refuse a newer server"
        } else {
            "which lack some of the tools"
        };
        Err(Error::failed(format!("{what}, but the clients found are {}, {reason}", found.join("; "))).hint(
            format!(
                "install `{package}-{server_major}` (Debian) or `pkgs.postgresql_{server_major}` (NixOS)"
            ),
        ))
    }
}

/// The directories a pattern stands for, highest name last.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let Some((start, end)) = part.split_once('*') else {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        paths = paths.iter().flat_map(|path| matching(path, start, end)).collect();
    }
    paths.retain(|path| path.is_dir());
    paths
}

fn matching(dir: &Path, start: &str, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let fits =
        |name: &str| name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
    let mut paths: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The tool behind symbolic links, unless it is missing or Debian's wrapper, which picks a version by its own rules.
fn real_tool(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok().filter(|real| real.is_file())?;
    let mut head = Vec::new();
    fs::File::open(&real).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let wrapper = head.starts_with(b"#!") && memchr::memmem::find(&head, b"PgCommon").is_some();
    (!wrapper && real.file_name() != Some("pg_wrapper".as_ref())).then_some(real)
}

fn identify(dir: &Path) -> Option<Client> {
    let client = |major, version_text| Client { dir: dir.to_owned(), major, version_text };
    if !client(0, String::new()).has(&TOOLS) {
        return None;
    }
    let command = Command::new(dir.join("pg_dump")).arg("--version").idle_timeout(Duration::from_secs(10));
    let text = String::from_utf8(run_capture(command, 4096).ok()?).ok()?;
    let version = text.split_once("(PostgreSQL) ")?.1.lines().next()?.trim();
    Some(client(major_of(version)?, version.to_owned()))
}

/// The major version in a text such as `15.3`, `18beta1` or `9.6.24`.
pub fn major_of(version: &str) -> Option<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version.get(..end)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory with tools of this version.
    fn install(root: &Path, name: &str, version: &str) -> PathBuf {
        let dir = root.join(name);
        fs::create_dir(&dir).unwrap();
        for tool in TOOLS {
            script(&dir.join(tool), &format!("echo '{tool} (PostgreSQL) {version}'"));
        }
        dir
    }

    fn script(path: &Path, text: &str) {
        let draft = path.with_extension("draft");
        fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
        // Copied by another process: a file we had open for writing may be "busy", as other tests fork meanwhile.
        let copied =
            std::process::Command::new("install").args(["-m", "755"]).args([&draft, path]).status().unwrap();
        assert!(copied.success());
    }

    #[test]
    fn the_same_version_is_chosen_else_the_next_newer() {
        let root = tempfile::tempdir().unwrap();
        let dirs = [("a", "18beta1"), ("b", "15.3 (Debian 15.3-1)"), ("c", "16.1"), ("d", "15.9")]
            .map(|(name, version)| install(root.path(), name, version));
        let clients = Clients::find_in(dirs.clone());
        assert_eq!(clients.newest().unwrap().dir, dirs[0]);
        assert_eq!(clients.choose(15).unwrap().dir, dirs[1], "the first configured of one version");
        assert_eq!(clients.choose(15).unwrap().version_text, "15.3 (Debian 15.3-1)");
        assert_eq!(clients.choose(16).unwrap().dir, dirs[2]);
        assert_eq!(clients.choose(17).unwrap().dir, dirs[0]);
        assert_eq!(clients.choose(9).unwrap().dir, dirs[1]);
        let error = clients.choose(19).unwrap_err();
        assert!(error.summary().contains("PostgreSQL 19") && error.summary().contains("16.1 in "), "{error}");
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("postgresql-client-19") && hint.contains("pkgs.postgresql_19"), "{hint}");
    }

    #[test]
    fn server_tools_can_be_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let dirs = [("a", "15.3"), ("b", "15.1")].map(|(name, version)| install(root.path(), name, version));
        script(&dirs[1].join("initdb"), "");
        let clients = Clients::find_in(dirs.clone());
        assert_eq!(clients.choose_with(15, &["initdb"]).unwrap().dir, dirs[1]);
        let error = clients.choose_with(15, &["initdb", "postgres"]).unwrap_err();
        assert!(error.summary().contains("lack some of the tools"), "{error}");
        assert!(error.hint_text().unwrap().contains("`postgresql-15`"), "{error}");
    }

    #[test]
    fn wrappers_doubles_incomplete_and_broken_folders_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let real = install(root.path(), "real", "15.3");
        let link = root.path().join("link");
        symlink(&real, &link).unwrap();
        let wrapper = install(root.path(), "wrapper", "15.3");
        fs::write(wrapper.join("pg_dump"), "#!/usr/bin/perl\nuse PgCommon;\n").unwrap();
        let partial = install(root.path(), "partial", "17.1");
        fs::remove_file(partial.join("psql")).unwrap();
        let broken = install(root.path(), "broken", "17.1");
        script(&broken.join("pg_dump"), "echo 'cannot load libpq.so.5' >&2; exit 127");
        let clients = Clients::find_in([wrapper, partial, broken, real.clone(), link, "/nonexistent".into()]);
        assert_eq!(clients.all().iter().map(|client| &client.dir).collect::<Vec<_>>(), [&real]);
    }

    #[test]
    fn nothing_found_names_the_package() {
        let error = Clients::find_in([PathBuf::from("/nonexistent")]).newest().unwrap_err().to_string();
        assert!(error.contains("/nonexistent") && error.contains("postgresql-client"), "{error}");
    }

    #[test]
    fn patterns_find_versioned_folders() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["pg/15/bin", "pg/16/bin", "pg/17", "pgsql-14/bin"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let base = root.path().display();
        let in_root = |dirs: &[&str]| dirs.iter().map(|dir| root.path().join(dir)).collect::<Vec<_>>();
        assert_eq!(expand(&format!("{base}/pg/*/bin")), in_root(&["pg/15/bin", "pg/16/bin"]));
        assert_eq!(expand(&format!("{base}/pgsql-*/bin")), in_root(&["pgsql-14/bin"]));
    }

    #[test]
    fn versions_are_read() {
        for (text, major) in [("15.3", 15), ("18beta1", 18), ("9.6.24", 9), ("19devel", 19), ("17", 17)] {
            assert_eq!(major_of(text), Some(major), "{text}");
        }
        assert_eq!(major_of("devel"), None);
    }
}
