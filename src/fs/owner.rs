//! A file that root writes gets the owner of its directory. Otherwise a command run as root would leave files that the
//! service, which runs as a user of its own, can neither read nor replace.

use std::{
    fs,
    io::{self, IsTerminal},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat},
    io::Errno,
};

/// Gives an open file to the owner of its directory, if this process is root and the directory is another user's. Does
/// nothing otherwise.
///
/// # Errors
/// The owner cannot be read or changed. File systems that assign owners themselves, such as a share that maps root to
/// nobody, refuse the change. This is not an error.
pub(crate) fn adopt(file: impl AsFd, folder: impl AsFd) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (own, above) = (fstat(&file)?, fstat(folder)?);
    if above.st_uid == 0 || (own.st_uid, own.st_gid) == (above.st_uid, above.st_gid) {
        return Ok(());
    }
    // A hard link to another user's file must not change its owner.
    if FileType::from_raw_mode(own.st_mode).is_file() && own.st_nlink > 1 {
        return Ok(());
    }
    match fchown(file, Some(Uid::from_raw(above.st_uid)), Some(Gid::from_raw(above.st_gid))) {
        Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// [`adopt`] by path; for a file or directory that was just created.
///
/// # Errors
/// As there, and if one of them cannot be opened.
pub(crate) fn adopt_path(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some(folder) = path.parent() else { return Ok(()) };
    adopt(open_itself(path)?, std::fs::File::open(folder)?)
}

/// Opens a path unless it is a symbolic link: a user who may write to the directory must not redirect root to another file.
fn open_itself(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// `O_NOFOLLOW` for `custom_flags`: a symbolic link is an error.
pub(crate) fn no_links() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

/// Creates a directory and its missing parents, with access for their owner alone, independent of the umask. If root creates
/// them, they belong to the owner of the parent directory; if that is root as well, to `service`, the user of the services, if
/// it exists: root can read and write there regardless of the owner.
///
/// # Errors
/// One of them cannot be created or given away.
pub(crate) fn create_directory(path: &Path, service: Option<&Account>) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = Some(path);
    while let Some(folder) = at.filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        missing.push(folder.to_owned());
        at = folder.parent();
    }
    for folder in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            // Another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        adopt_path(&folder)?;
        if let Some(service) = service.filter(|_| rustix::process::geteuid().is_root()) {
            give(&folder, service)?;
        }
    }
    // A dangling link, or a file: opening it reports the error.
    Ok(())
}

/// Changes the owner of a new directory. Storages that assign owners themselves keep theirs.
fn give(folder: &Path, to: &Account) -> io::Result<()> {
    let file = open_itself(folder)?;
    if fstat(&file)?.st_uid != 0 {
        return Ok(());
    }
    match fchown(file, Some(Uid::from_raw(to.uid)), Some(Gid::from_raw(to.gid))) {
        Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A user of this machine with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Name.
    pub(crate) name: String,
    /// Number.
    pub(crate) uid: u32,
    /// Number of its group.
    pub(crate) gid: u32,
    /// Numbers of all of its groups.
    pub(crate) groups: Vec<u32>,
}

impl Account {
    /// The user of this name, running with this group. `getent` and `id` use all sources that logins use.
    pub(crate) fn find(user: &str, group: &str) -> Option<Self> {
        let uid = number(&said("getent", &["passwd", "--", user])?)?;
        let gid = number(&said("getent", &["group", "--", group])?)?;
        let groups = said("id", &["-G", "--", user]).unwrap_or_default();
        let mut groups: Vec<u32> = groups.split_whitespace().filter_map(|group| group.parse().ok()).collect();
        groups.push(gid);
        Some(Self { name: user.to_owned(), uid, gid, groups })
    }

    /// The first part of the path whose owner and mode keep the user from reading a file or listing a directory. Access control
    /// lists are not considered.
    pub(crate) fn stopped_at(&self, path: &Path) -> Option<PathBuf> {
        self.stopped(path, 0o5, 0o4)
    }

    /// As [`Account::stopped_at`], for a directory that the user must be able to write to.
    pub(crate) fn stopped_from_writing(&self, path: &Path) -> Option<PathBuf> {
        self.stopped(path, 0o7, 0o6)
    }

    fn stopped(&self, path: &Path, directory: u32, file: u32) -> Option<PathBuf> {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        way.into_iter().find_map(|part| {
            let stat = fs::metadata(part).ok()?;
            let last = part == path;
            let needed = match (last, stat.is_dir()) {
                (false, _) => 0o1,
                (true, true) => directory,
                (true, false) => file,
            };
            (!self.may(&stat, needed)).then(|| part.to_owned())
        })
    }

    fn may(&self, stat: &fs::Metadata, needed: u32) -> bool {
        let shift = if stat.uid() == self.uid {
            6
        } else if self.groups.contains(&stat.gid()) {
            3
        } else {
            0
        };
        self.uid == 0 || (stat.mode() >> shift) & needed == needed
    }
}

/// The third field of a line of the databases of users and groups.
fn number(line: &str) -> Option<u32> {
    line.split(':').nth(2)?.trim().parse().ok()
}

/// The output of a program, if it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The name of a user, or its number.
fn user_name(uid: u32) -> String {
    let line = said("getent", &["passwd", "--", &uid.to_string()]);
    let name = line.as_deref().and_then(|line| line.split(':').next()).filter(|name| !name.is_empty());
    name.map_or_else(|| format!("the user with number {uid}"), str::to_owned)
}

/// Whether hints are for root, while this process runs as the services' user to test what that user may do.
static FOR_ROOT: AtomicBool = AtomicBool::new(false);

/// From now on, hints name the commands that root runs for the user of this process.
pub(crate) fn advise_root() {
    FOR_ROOT.store(true, Ordering::Relaxed);
}

/// The hint for a path that cannot be read; `None` if permissions are not the reason.
pub(crate) fn reading_hint(path: &Path, error: &io::Error) -> Option<String> {
    hint(path, error, "read")
}

/// The hint for a path that cannot be written to; `None` if permissions are not the reason.
pub(crate) fn writing_hint(path: &Path, error: &io::Error) -> Option<String> {
    hint(path, error, "write to")
}

fn hint(path: &Path, error: &io::Error, doing: &str) -> Option<String> {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    let me = rustix::process::geteuid();
    if me.is_root() {
        // A network file system that maps root to nobody, or a service without CAP_DAC_OVERRIDE.
        return Some(format!(
            "root may not {doing} it here: check the owner, the mode and the mount options"
        ));
    }
    // Nothing can be read below a closed directory, so the directory's owner counts.
    let there = path.ancestors().find_map(|part| fs::metadata(part).ok().map(|stat| (part, stat)));
    let owner = there.map(|(part, stat)| (part, stat.uid())).filter(|(_, uid)| *uid != me.as_raw());
    let me = user_name(me.as_raw());
    if FOR_ROOT.load(Ordering::Relaxed) {
        return Some(match owner {
            Some((part, _)) => {
                let (part, owner) = (part.display(), user_name(owner.map_or(0, |(_, uid)| uid)));
                format!(
                    "{part} belongs to {owner}: if it is for the services alone, chown -R {me}: {part}; else let {me} {doing} it"
                )
            }
            None => format!("let {me} {doing} {}", path.display()),
        });
    }
    // Terminals of a desktop have the variable as well.
    if std::env::var_os("INVOCATION_ID").is_some() && !io::stdin().is_terminal() {
        // A systemd service: it cannot be run as another user.
        return Some(match owner {
            Some((part, uid)) => {
                let (part, owner) = (part.display(), user_name(uid));
                format!(
                    "{part} belongs to {owner} and this service runs as {me}: if it is for the services alone, chown -R {me}: \
                     {part}; else let {me} {doing} it"
                )
            }
            None => format!("let {me} {doing} {}", path.display()),
        });
    }
    Some(match owner {
        Some((part, 0)) => {
            format!(
                "{} belongs to root and this is {me}: run it as root, for example with sudo",
                part.display()
            )
        }
        Some((part, uid)) => {
            let owner = user_name(uid);
            format!(
                "{} belongs to {owner} and this is {me}: run it as root, for example with sudo, or as {owner}",
                part.display()
            )
        }
        None => {
            format!("let {me} {doing} {}, or run it as another user, for example with sudo", path.display())
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt};

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_folder() {
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("root");
        }
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
        for folder in [&theirs, &ours] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "x").unwrap();
        }
        std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).unwrap();
        for folder in [&theirs, &ours] {
            adopt_path(&folder.join("file")).unwrap();
        }
        let owner = |path: &Path| fs::metadata(path).map(|stat| (stat.uid(), stat.gid())).unwrap();
        assert_eq!(owner(&theirs.join("file")), (4711, 4712));
        assert_eq!(owner(&ours.join("file")).0, 0);
    }

    #[test]
    fn new_folders_are_for_their_owner_alone_and_belong_to_whom_the_services_are() {
        let dir = tempfile::tempdir().unwrap();
        let service = Account { name: "backup".to_owned(), uid: 4711, gid: 4712, groups: vec![4712] };
        let deep = dir.path().join("new/deep");
        create_directory(&deep, Some(&service)).unwrap();
        create_directory(&deep, Some(&service)).unwrap();
        for folder in [&deep, &dir.path().join("new")] {
            let stat = fs::metadata(folder).unwrap();
            assert_eq!(stat.mode() & 0o777, 0o700);
            if rustix::process::geteuid().is_root() {
                assert_eq!((stat.uid(), stat.gid()), (4711, 4712));
            }
        }
    }

    #[test]
    fn what_stops_a_user_on_the_way_to_a_file_is_found() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("folder"), dir.path().join("folder/file"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "x").unwrap();
        for path in [dir.path(), &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let group = fs::metadata(&file).unwrap().gid();
        let stranger = Account { name: "s".to_owned(), uid: 4711, gid: 4712, groups: vec![4712] };
        let member = Account { groups: vec![4712, group], ..stranger.clone() };
        mode(&file, 0o640);
        assert_eq!(stranger.stopped_at(&file).as_deref(), Some(&*file));
        assert_eq!(member.stopped_at(&file), None);
        mode(&folder, 0o775);
        assert_eq!(stranger.stopped_at(&folder), None);
        assert_eq!(stranger.stopped_from_writing(&folder).as_deref(), Some(&*folder));
        assert_eq!(member.stopped_from_writing(&folder), None);
        mode(&folder, 0o700);
        assert_eq!(member.stopped_at(&file).as_deref(), Some(&*folder));
    }

    #[test]
    fn links_lead_root_nowhere() {
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("root");
        }
        let dir = tempfile::tempdir().unwrap();
        let (theirs, secret) = (dir.path().join("theirs"), dir.path().join("secret"));
        fs::create_dir(&theirs).unwrap();
        fs::write(&secret, "x").unwrap();
        std::os::unix::fs::symlink(&secret, theirs.join("soft")).unwrap();
        fs::hard_link(&secret, theirs.join("hard")).unwrap();
        std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).unwrap();
        assert!(adopt_path(&theirs.join("soft")).is_err());
        adopt_path(&theirs.join("hard")).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    }
}
