//! The part of the file system that a server sees: the system's programs and libraries, its own programs, and its own directories.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CString, OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::{
    enter::{NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, Root, Step},
    landlock::{Access, Ruleset},
};

/// The system's programs and libraries. `/usr` and `/usr/local` are shown by their parts.
const SYSTEM: [&str; 9] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/run/current-system/sw",
    "/gnu/store",
];
/// Directories of `/usr` without programs.
const NOT_OF_USR: [&str; 3] = ["local", "src", "etc"];
/// Directories of an installation with its programs and what they need.
const PARTS: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libexec", "share"];
/// Settings of the system that libraries read; `passwd` and `group` are made for the server where that is possible.
const SETTINGS: [&str; 24] = [
    "alternatives",
    "crypto-policies",
    "gai.conf",
    "host.conf",
    "hostname",
    "hosts",
    "ld-nix.so.preload",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.alias",
    "localtime",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki/tls/openssl.cnf",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/openssl.cnf",
    "timezone",
    "zoneinfo",
    "python3",
];
/// Dictionaries of Debian, and files with which libraries ask the kernel about the machine, not about processes.
const OTHERS: [&str; 7] = [
    "/var/cache/postgresql/dicts",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/version",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// At most this many symbolic links are followed.
const LINKS: u32 = 40;

/// The visible paths.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Readable files and directories, by their real paths.
    seen: BTreeSet<PathBuf>,
    /// Symbolic links on their paths.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl View {
    /// What every server needs.
    pub(super) fn of_system() -> Self {
        let mut view = Self::default();
        for entry in fs::read_dir("/usr").into_iter().flatten().flatten() {
            if !NOT_OF_USR.iter().any(|name| entry.file_name() == *name) {
                view.show(&entry.path());
            }
        }
        PARTS.iter().for_each(|part| view.show(&Path::new("/usr/local").join(part)));
        SYSTEM.iter().chain(&OTHERS).chain(&DEVICES).for_each(|path| view.show(Path::new(path)));
        SETTINGS.iter().for_each(|name| view.show(&Path::new("/etc").join(name)));
        view
    }

    /// Shows a file, or a directory with everything below it. Missing paths are ignored.
    pub(super) fn show(&mut self, path: &Path) {
        if let Some(real) = self.follow(path)
            && real != Path::new("/")
        {
            self.seen.insert(real);
        }
    }

    /// Shows a program and what was installed with it: in `…/bin` the directories beside it that installations have, elsewhere
    /// only the file, because the directory may contain other data.
    pub(super) fn show_program(&mut self, program: &Path) {
        self.show(program);
        let real = self.follow(program);
        for file in [Some(program.to_owned()), real].into_iter().flatten() {
            let Some(dir) = file.parent() else { continue };
            let is_usual =
                ["bin", "sbin", "libexec"].iter().any(|name| dir.file_name() == Some(OsStr::new(name)));
            if let Some(up) = dir.parent().filter(|_| is_usual) {
                PARTS.iter().for_each(|part| self.show(&up.join(part)));
            }
        }
    }

    /// The real path; the links on the way are noted.
    pub(super) fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let parts = |path: &Path| -> Vec<OsString> {
            let named =
                path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
            let mut parts: Vec<_> = named.map(|part| part.as_os_str().to_owned()).collect();
            parts.reverse();
            parts
        };
        let mut at = PathBuf::from("/");
        let mut rest = if path.is_absolute() { parts(path) } else { return None };
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            if !fs::symlink_metadata(&next).ok()?.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            let target = fs::read_link(&next).ok().filter(|_| links <= LINKS)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            rest.extend(parts(&target));
            self.links.insert(next, target);
        }
        Some(at)
    }

    /// The paths that are not below another one.
    fn outermost(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = Vec::new();
        for path in &self.seen {
            // Sorted by components: a directory comes right before its content.
            if !all.last().is_some_and(|above| path.starts_with(above)) {
                all.push(path);
            }
        }
        all
    }

    /// A file system with these paths, assembled in the directory `at`. `own` are writable directories, by their real
    /// paths, `files` are shown at other paths.
    pub(super) fn root(&self, at: &Path, own: &[PathBuf], files: &[(PathBuf, PathBuf)]) -> io::Result<Root> {
        let mut builder = Builder { at, steps: Vec::new(), made: BTreeSet::new() };
        let processes = Path::new("/proc");
        builder.parents(&processes.join("any"))?;
        let seen = self.outermost();
        for path in &seen {
            let kind = fs::metadata(path)?;
            let is_device = DEVICES.iter().any(|device| *path == Path::new(device));
            if !kind.is_dir() && !kind.is_file() && !is_device {
                continue;
            }
            builder.parents(path)?;
            let attributes = if is_device { 0 } else { READ_ONLY | NO_SUID | NO_DEV };
            let optional =
                !kind.is_dir() || ["/proc", "/sys", "/etc"].iter().any(|dir| path.starts_with(dir));
            builder.bind(path, path, !kind.is_dir(), attributes, optional)?;
        }
        for (link, target) in &self.links {
            if seen.iter().any(|above| link.starts_with(above)) {
                continue;
            }
            builder.parents(link)?;
            let step = Step::Link { to: text(target)?, at: builder.place(link)? };
            builder.steps.push(step);
        }
        for (from, path) in files {
            builder.parents(path)?;
            builder.bind(from, path, true, READ_ONLY | NO_SUID | NO_DEV, false)?;
        }
        for path in own {
            if !seen.iter().any(|above| path.starts_with(above)) {
                builder.parents(path)?;
            }
            builder.bind(path, path, false, NO_SUID | NO_DEV | NO_EXEC, false)?;
        }
        let processes = Some(builder.place(processes)?);
        Ok(Root { at: text(at)?, steps: builder.steps, processes })
    }

    /// Allows the same paths in a set of rules.
    pub(super) fn allow(
        &self,
        rules: &Ruleset,
        own: &[PathBuf],
        files: &[(PathBuf, PathBuf)],
    ) -> io::Result<()> {
        for path in self.outermost() {
            let is_device = DEVICES.iter().any(|device| path == Path::new(device));
            // A path that cannot be opened is not allowed, which does not weaken the confinement.
            let _ = rules.allow(path, if is_device { Access::Device } else { Access::Read });
        }
        files.iter().try_for_each(|(from, _)| rules.allow(from, Access::Read))?;
        own.iter().try_for_each(|path| rules.allow(path, Access::Own))
    }
}

struct Builder<'a> {
    at: &'a Path,
    steps: Vec<Step>,
    made: BTreeSet<PathBuf>,
}

impl Builder<'_> {
    fn place(&self, path: &Path) -> io::Result<CString> {
        text(&self.at.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Makes the directories above.
    fn parents(&mut self, path: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|dir| !dir.as_os_str().is_empty() && *dir != Path::new("/"))
            .collect();
        above.reverse();
        for dir in above {
            if self.made.insert(dir.to_owned()) {
                let step = Step::Dir(self.place(dir)?);
                self.steps.push(step);
            }
        }
        Ok(())
    }

    fn bind(
        &mut self,
        from: &Path,
        path: &Path,
        file: bool,
        attributes: u64,
        optional: bool,
    ) -> io::Result<()> {
        let step = Step::Bind { from: text(from)?, at: self.place(path)?, file, attributes, optional };
        self.steps.push(step);
        Ok(())
    }
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn links_on_the_way_are_shown_with_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("real/bin")).unwrap();
        fs::create_dir_all(base.join("real/lib")).unwrap();
        fs::create_dir_all(base.join("real/secrets")).unwrap();
        fs::write(base.join("real/bin/server"), "").unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        let mut view = View::default();
        view.show_program(&base.join("link/bin/server"));
        assert_eq!(view.outermost(), [base.join("real/bin"), base.join("real/lib")]);
        assert_eq!(view.links.keys().collect::<Vec<_>>(), [&base.join("link")]);
        view.show(&base.join("missing"));
        assert_eq!(view.outermost().len(), 2);
    }

    #[test]
    fn of_a_program_that_lies_anywhere_only_the_file_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for file in ["server", "secret"] {
            fs::write(base.join(file), "").unwrap();
        }
        let mut view = View::default();
        view.show_program(&base.join("server"));
        assert_eq!(view.outermost(), [base.join("server")]);
    }
}
