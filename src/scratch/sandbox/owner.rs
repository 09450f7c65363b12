//! The user of scratch servers.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, sync::OnceLock};

use crate::error::{Error, Result};

/// The dedicated user, if the system has it.
pub(super) const OWN: &str = "tik-backup-drill";
/// The user of last resort, which may have other processes.
const SHARED: &str = "nobody";
/// User IDs that distributions reserve for services without an entry: systemd's range for `DynamicUser=`.
const UNUSED: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The user of all servers of this process, once chosen.
static CHOSEN: OnceLock<Owner> = OnceLock::new();

/// A user ID and a group ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether nothing else runs as this user.
    pub(crate) own: bool,
}

/// The user of servers; `None` for our own. As root, never a user that owns data: on a database host
/// `postgres` owns the clusters. A user without an entry needs `passwd` files of its own, so `may_be_unknown`.
pub(super) fn of_servers(may_be_unknown: bool) -> Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    if let Some(chosen) = CHOSEN.get() {
        return Ok(Some(*chosen));
    }
    let passwd = fs::read_to_string("/etc/passwd")
        .map_err(|error| Error::failed("cannot read /etc/passwd").because(&error))?;
    let unused = || may_be_unknown.then(|| find_unused(&passwd)).flatten();
    let chosen = find_user(&passwd, OWN, true).or_else(unused).or_else(|| find_user(&passwd, SHARED, false));
    let chosen = chosen.ok_or_else(|| {
        Error::failed(format!(
            "a database server does not run as root, and there is no user `{OWN}` or `{SHARED}`"
        ))
        .hint(format!("create a user `{OWN}`, or run this as a user without privileges"))
    })?;
    Ok(Some(*CHOSEN.get_or_init(|| chosen)))
}

/// The user of servers if it is not our own, once one was started.
pub(crate) fn chosen() -> Option<Owner> {
    CHOSEN.get().copied()
}

fn find_user(passwd: &str, name: &str, own: bool) -> Option<Owner> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(|field| field.parse().ok());
    let (uid, gid): (u32, u32) = (numbers.next()??, numbers.next()??);
    (uid != 0).then_some(Owner { uid, gid, own })
}

/// An ID that no user, group or process has. Processes that run at the same time start the search at different IDs.
fn find_unused(passwd: &str) -> Option<Owner> {
    let numbers = |text: &str| -> Vec<u32> {
        text.lines().flat_map(|line| line.split(':').skip(2).take(2).filter_map(|n| n.parse().ok())).collect()
    };
    let mut taken: BTreeSet<u32> = numbers(passwd).into_iter().collect();
    taken.extend(numbers(&fs::read_to_string("/etc/group").unwrap_or_default()));
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        taken.extend(process.metadata().map(|meta| meta.uid()));
    }
    let count = UNUSED.end() - UNUSED.start() + 1;
    let first = std::process::id() % count;
    let mut all = (0..count).map(|n| UNUSED.start() + (first + n) % count);
    all.find(|number| !taken.contains(number)).map(|number| Owner { uid: number, gid: number, own: true })
}

/// `passwd` and `group` with the server's user alone: programs look up the name of their user.
pub(super) fn accounts(owner: Option<Owner>) -> [(&'static str, String); 2] {
    let (uid, gid) = match owner {
        Some(owner) => (owner.uid, owner.gid),
        None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    [
        ("passwd", format!("{OWN}:x:{uid}:{gid}::/:/usr/sbin/nologin\n")),
        ("group", format!("{OWN}:x:{gid}:\n")),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name_and_root_is_none() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:/bin/sh\nnobody:x:65534:65533::/:/bin/false\nbad:x:y:z\n";
        assert_eq!(find_user(passwd, "nobody", false), Some(Owner { uid: 65534, gid: 65533, own: false }));
        assert_eq!(find_user(passwd, "postgres", true), None);
        assert_eq!(find_user(passwd, "bad", true), None);
        assert_eq!(find_user(passwd, "root", true), None);
    }

    #[test]
    fn an_unused_number_is_nobodys() {
        let first = find_unused("").unwrap();
        assert!(UNUSED.contains(&first.uid) && first.own);
        let second = find_unused(&format!("a:x:{}:5::/:/bin/sh\n", first.uid)).unwrap();
        assert_ne!(first.uid, second.uid);
    }
}
