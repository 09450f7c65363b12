//! What a service principal can see: subscriptions, storage accounts, containers and shares.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{MARK, SHARE};
use crate::{
    azure::{
        Account, Azure,
        blob::BlobService,
        files::{ExistingSnapshot, FileService, Protocol, Share},
    },
    config::AzureStorageConfig,
    error::{Error, Result},
    source::{Discovery, Excluded, Item},
    stream::cancel::Cancel,
};

/// Accounts that are asked at the same time.
const PARALLEL: usize = 8;
/// A snapshot of a share that a run on another machine took is taken for left behind after this time.
const ORPHAN_AGE: i64 = 2 * 86_400;

/// A storage account and how to reach its services.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) account: Account,
    pub(super) blobs: Option<BlobService>,
    pub(super) files: Option<FileService>,
    /// What an operator should know of the way in.
    pub(super) note: Option<String>,
    /// Snapshots of its shares that runs of ours left behind, as discovery saw them.
    pub(super) orphans: Arc<HashMap<String, Vec<ExistingSnapshot>>>,
}

/// Asks for everything. An error means that not even the accounts could be listed.
pub(super) fn discover(
    azure: &Azure,
    config: &AzureStorageConfig,
    cancel: &Cancel,
) -> Result<(Discovery, BTreeMap<String, Reached>)> {
    let mut found = Discovery::default();
    let mut wanted = Vec::new();
    for account in accounts(azure, cancel)? {
        let rule = match config.accounts.matched(&account.name) {
            None => Some("not in `accounts`".to_owned()),
            Some(_) => {
                config.exclude_accounts.matched(&account.name).map(|p| format!("exclude_accounts = \"{p}\""))
            }
        };
        match rule {
            Some(rule) => found.excluded.push(Excluded { name: account.name, rule }),
            None => wanted.push(account),
        }
    }
    for name in config.accounts.names() {
        let there = wanted.iter().map(|a| &a.name).chain(found.excluded.iter().map(|e| &e.name));
        if !there.into_iter().any(|known| known == name) {
            let problem = "there is no such storage account, or the service principal may not see it, though `accounts` \
                           names it\n  → give the service principal the role Reader on it, or correct the name";
            found.items.push(broken(name.to_owned(), problem.to_owned()));
        }
    }
    let (next, asked) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(account) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = ask(azure, config, account, cancel);
                    asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(answer);
                }
            });
        }
    });
    cancel.check()?;
    let mut reached = BTreeMap::new();
    for (part, account) in asked.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        found.items.extend(part.items);
        found.excluded.extend(part.excluded);
        reached.extend(account.map(|account| (account.account.name.clone(), account)));
    }
    found.items.sort_by(|a, b| a.name.cmp(&b.name));
    found.excluded.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((found, reached))
}

/// All storage accounts of all subscriptions. That there are none is an error: more likely a right is missing.
fn accounts(azure: &Azure, cancel: &Cancel) -> Result<Vec<Account>> {
    let subscriptions = azure.subscriptions(cancel)?;
    if subscriptions.is_empty() {
        return Err(Error::failed("the service principal sees no subscription")
            .hint("give it the role Reader on each subscription that is to be backed up"));
    }
    let mut accounts = Vec::new();
    for subscription in &subscriptions {
        accounts.extend(azure.storage_accounts(subscription, cancel)?);
    }
    if accounts.is_empty() {
        return Err(Error::failed(format!(
            "the service principal sees no storage account in {} subscriptions",
            subscriptions.len()
        ))
        .hint("give it the role Reader on the subscriptions or on the storage accounts"));
    }
    Ok(accounts)
}

/// The containers and shares of one account. What cannot be asked becomes an item with its problem.
fn ask(
    azure: &Azure,
    config: &AzureStorageConfig,
    account: &Account,
    cancel: &Cancel,
) -> (Discovery, Option<Reached>) {
    let mut found = Discovery::default();
    let credential = match azure.credential(account, cancel) {
        Ok(credential) => credential,
        Err(error) => {
            found.items.push(broken(account.name.clone(), text(&error)));
            return (found, None);
        }
    };
    let note = credential.note().map(str::to_owned);
    let mut reached =
        Reached { account: account.clone(), blobs: None, files: None, note, orphans: Arc::default() };
    if let Some(endpoint) = &account.blob_endpoint {
        let listed = azure.blobs(endpoint, &account.name, credential.clone()).and_then(|service| {
            let containers = service.containers(cancel)?;
            reached.blobs = Some(service);
            Ok(containers)
        });
        match listed {
            Ok(containers) => {
                for container in containers {
                    let rule = config.exclude_containers.matched(&container.name);
                    let rule = rule.map(|pattern| format!("exclude_containers = \"{pattern}\""));
                    add(&mut found, format!("{}/{}", account.name, container.name), rule, None);
                }
            }
            Err(error) => found.items.push(broken(account.name.clone(), text(&error))),
        }
    }
    if let Some(endpoint) = &account.file_endpoint {
        let listed =
            FileService::new(azure.http(), endpoint, &account.name, credential).and_then(|service| {
                let shares = service.shares(cancel)?;
                reached.files = Some(service);
                Ok(shares)
            });
        match listed {
            Ok(shares) => {
                reached.orphans = Arc::new(shares.iter().filter_map(left_behind).collect());
                for share in shares {
                    let rule = config.exclude_shares.matched(&share.name);
                    let rule = rule.map(|pattern| format!("exclude_shares = \"{pattern}\""));
                    let problem = (share.protocol == Protocol::Nfs).then(|| NFS.to_owned());
                    add(&mut found, format!("{}/{SHARE}{}", account.name, share.name), rule, problem);
                }
            }
            Err(error) => found.items.push(broken(format!("{}/{SHARE}", account.name), text(&error))),
        }
    }
    (found, Some(reached))
}

/// The snapshots of a share that a run of ours left when it was killed.
fn left_behind(share: &Share) -> Option<(String, Vec<ExistingSnapshot>)> {
    let ours = |snapshot: &&ExistingSnapshot| mark_of(snapshot).is_some_and(is_orphan);
    let orphans: Vec<_> = share.snapshots.iter().filter(ours).cloned().collect();
    (!orphans.is_empty()).then(|| (share.name.clone(), orphans))
}

/// What marks a snapshot as one of ours, if it is.
pub(super) fn mark_of(snapshot: &ExistingSnapshot) -> Option<&str> {
    let mut metadata = snapshot.metadata.iter();
    metadata.find(|(key, _)| key.eq_ignore_ascii_case(MARK)).map(|(_, value)| value.as_str())
}

const NFS: &str = "it is an NFS share, which cannot be read over HTTPS: NOT protected\n  → mount it and back it up with a \
                   source of kind \"directory\", or exclude it with exclude_shares";

fn add(found: &mut Discovery, name: String, rule: Option<String>, problem: Option<String>) {
    match rule {
        Some(rule) => found.excluded.push(Excluded { name, rule }),
        None => found.items.push(Item { name, estimate: None, problem }),
    }
}

fn broken(name: String, problem: String) -> Item {
    Item { name, estimate: None, problem: Some(problem) }
}

/// An error as the problem of an item.
pub(super) fn text(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}\n  → {hint}", error.summary()),
        None => error.summary(),
    }
}

/// What marks the share snapshots of this run: host, process and time.
pub(super) fn run_mark() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    format!("{} {} {seconds}", host(), std::process::id())
}

fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // It travels in a header.
    name.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).collect()
}

/// Whether the run that left this mark is over: its process is gone, or on another machine it is too long ago.
fn is_orphan(mark: &str) -> bool {
    let mut parts = mark.split(' ');
    let (Some(on), Some(process), Some(since)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let old = since.parse::<i64>().is_ok_and(|since| jiff::Timestamp::now().as_second() - since > ORPHAN_AGE);
    if on != host() {
        return old;
    }
    let process = process.parse::<i32>().ok().and_then(rustix::process::Pid::from_raw);
    // That it is another user's, who may not be signalled, is no sign of its end.
    let gone = |process| rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH);
    old || process.is_some_and(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_run_left_is_an_orphan() {
        assert!(!is_orphan(&run_mark()));
        let now = jiff::Timestamp::now().as_second();
        assert!(is_orphan(&format!("{} 999999999 {now}", host())));
        assert!(!is_orphan(&format!("elsewhere 1 {now}")));
        assert!(is_orphan(&format!("elsewhere 1 {}", now - 3 * 86_400)));
        assert!(!is_orphan("something else"));
    }
}
