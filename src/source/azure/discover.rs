//! Discovery with a service principal: subscriptions, storage accounts, containers and shares.

use std::{collections::HashMap, sync::Arc, thread};

use super::{
    MARK, SHARE,
    health::Outage,
    reach::{Probe, Reach},
    subscriptions,
};
use crate::{
    azure::{
        Account, Azure, Credential,
        blob::BlobService,
        files::{ExistingSnapshot, FileService, Protocol, Share},
        request::Service,
    },
    error::{Error, Problem, Result},
    source::azure::config::AzureStorageConfig,
    source::{Discovery, Excluded, Item},
    stream::cancel::Cancel,
};

/// A share snapshot of a run on another machine counts as left behind after this time.
const ORPHAN_AGE: i64 = 2 * 86_400;

/// A storage account and how to reach its services.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) account: Account,
    pub(super) blobs: Option<BlobService>,
    pub(super) files: Option<FileService>,
    /// Notes about the credential.
    pub(super) notes: Vec<String>,
    /// Snapshots of its shares left behind by earlier runs, as found by discovery.
    pub(super) orphans: Arc<HashMap<String, Vec<ExistingSnapshot>>>,
    /// When the last attempt was abandoned.
    pub(super) outage: Arc<Outage>,
}

/// A storage account to be queried.
pub(super) struct Wanted {
    pub(super) account: Account,
    /// The message about its subscription, if that is disabled.
    disabled: Option<String>,
}

/// The accounts to be queried, of all subscriptions, and the discovery without them.
///
/// # Errors
/// The subscriptions could not be listed. Finding no account at all is an error too: most likely a permission is
/// missing.
pub(super) fn accounts(
    azure: &Azure,
    config: &AzureStorageConfig,
    cancel: &Cancel,
) -> Result<(Discovery, Vec<Wanted>)> {
    let (mut found, mut wanted) = (Discovery::default(), Vec::new());
    let listed =
        subscriptions::list(azure, cancel, &|subscription| azure.storage_accounts(subscription, cancel))?;
    let (count, mut none) = (listed.len(), true);
    for subscription in listed {
        let disabled = subscription.disabled();
        for account in subscription.take("storage accounts", &mut found) {
            none = false;
            match rule(config, &account.name) {
                Some(rule) => {
                    found.answered.push(account.name.clone());
                    found.excluded.push(Excluded { name: account.name, rule });
                }
                None => wanted.push(Wanted { account, disabled: disabled.clone() }),
            }
        }
    }
    let refused = !found.items.is_empty();
    if none && !refused {
        let mut text = format!("the service principal sees no storage account in {count} subscriptions");
        // Without accounts, the exclusions are only disabled subscriptions.
        for Excluded { rule, .. } in &found.excluded {
            text = format!("{text}; {rule}");
        }
        return Err(Error::failed(text)
            .hint("give it the role Reader on the subscriptions or on the storage accounts"));
    }
    for name in config.accounts.names() {
        let there = wanted.iter().map(|w| &w.account.name).chain(found.excluded.iter().map(|e| &e.name));
        if !there.into_iter().any(|known| known == name) {
            let problem = if refused {
                Problem::new(
                    "`accounts` names this account, but it was not found; it may be in a subscription that could not be listed",
                )
                .hint("see the problem reported for the subscription, or correct the name")
            } else {
                Problem::new(
                    "`accounts` names this account, but it does not exist or the service principal may not see it",
                )
                .hint("give the service principal the role Reader on it, or correct the name")
            };
            found.items.push(broken(name.to_owned(), problem));
        }
    }
    Ok((found, wanted))
}

/// The rule of the configuration that excludes an account.
fn rule(config: &AzureStorageConfig, name: &str) -> Option<String> {
    match config.accounts.matched(name) {
        None => Some("not in `accounts`".to_owned()),
        Some(_) => config.exclude_accounts.matched(name).map(|p| format!("exclude_accounts = \"{p}\"")),
    }
}

/// Why a service of an account could not be listed.
struct Trouble {
    /// The problem for this service alone.
    alone: Problem,
    /// The same without details of the service; two services with the same text have the same problem.
    shared: String,
}

/// Queries the services of one account.
struct Ask<'a> {
    azure: &'a Azure,
    probe: &'a Probe,
    account: &'a Account,
    disabled: Option<&'a str>,
    cancel: &'a Cancel,
}

/// The containers of the blob service, or why they cannot be listed.
type Containers = Result<(BlobService, Vec<String>), Trouble>;
/// The same for the file service.
type Shares = Result<(FileService, Vec<Share>), Trouble>;

/// The containers and shares of one account. A service that cannot be listed becomes an item with its problem.
pub(super) fn ask(
    azure: &Azure,
    probe: &Probe,
    config: &AzureStorageConfig,
    wanted: &Wanted,
    cancel: &Cancel,
) -> (Discovery, Option<Reached>) {
    let mut found = Discovery::default();
    let Wanted { account, disabled } = wanted;
    let ask = Ask { azure, probe, account, disabled: disabled.as_deref(), cancel };
    let credential = match azure.credential(account, cancel) {
        Ok(credential) => credential,
        Err(error) => {
            found.items.push(broken(account.name.clone(), ask.told(&error)));
            return (found, None);
        }
    };
    let mut notes: Vec<String> = credential.note().map(str::to_owned).into_iter().collect();
    notes.extend(disabled.clone());
    let mut reached = Reached {
        account: account.clone(),
        blobs: None,
        files: None,
        notes,
        orphans: Arc::default(),
        outage: Arc::default(),
    };
    let (blobs, files) = ask.both(&credential);
    let (mut blob_trouble, mut file_trouble) = (None, None);
    match blobs {
        None => {}
        Some(Ok((service, containers))) => {
            reached.blobs = Some(service);
            for container in containers {
                let rule = config.exclude_containers.matched(&container);
                let rule = rule.map(|pattern| format!("exclude_containers = \"{pattern}\""));
                add(&mut found, format!("{}/{container}", account.name), rule, None);
            }
        }
        Some(Err(trouble)) => blob_trouble = Some(trouble),
    }
    match files {
        None => {}
        Some(Ok((service, shares))) => {
            reached.files = Some(service);
            reached.orphans = Arc::new(shares.iter().filter_map(left_behind).collect());
            for share in shares {
                let rule = config.exclude_shares.matched(&share.name);
                let rule = rule.map(|pattern| format!("exclude_shares = \"{pattern}\""));
                let problem = (share.protocol == Protocol::Nfs).then(nfs);
                add(&mut found, format!("{}/{SHARE}{}", account.name, share.name), rule, problem);
            }
        }
        Some(Err(trouble)) => file_trouble = Some(trouble),
    }
    add_troubles(&mut found, &account.name, blob_trouble, file_trouble);
    (found, Some(reached))
}

/// The problems of services: one item for both if they are the same.
fn add_troubles(found: &mut Discovery, account: &str, blobs: Option<Trouble>, files: Option<Trouble>) {
    let shares = format!("{account}/{SHARE}");
    match (blobs, files) {
        (Some(blobs), Some(files)) if blobs.shared == files.shared => {
            let what = "neither its blob service nor its file service could be listed";
            let problem = Problem { text: format!("{what}: {}", blobs.alone.text), hint: blobs.alone.hint };
            found.items.push(broken(account.to_owned(), problem));
        }
        (blobs, files) => {
            found.items.extend(blobs.map(|trouble| broken(account.to_owned(), trouble.alone)));
            if let Some(trouble) = files {
                found.unknown.push(shares.clone());
                found.items.push(broken(shares, trouble.alone));
            }
        }
    }
}

impl Ask<'_> {
    /// Lists both services of the account at the same time.
    fn both(&self, credential: &Credential) -> (Option<Containers>, Option<Shares>) {
        let span = tracing::Span::current();
        thread::scope(|scope| {
            let files = scope.spawn(|| {
                let _span = span.entered();
                self.files(credential.clone())
            });
            let blobs = self.blobs(credential.clone());
            let panicked = |_| {
                Some(Err(self.trouble("", &Error::failed("the thread that queried the service panicked"))))
            };
            (blobs, files.join().unwrap_or_else(panicked))
        })
    }

    /// The blob service and the names of its containers; `None` if the account has no such service.
    fn blobs(&self, credential: Credential) -> Option<Containers> {
        let endpoint = self.account.blob_endpoint.as_deref()?;
        let list = || -> Result<_> {
            let service = self.azure.blobs(endpoint, &self.account.name, credential)?;
            let containers = service.containers(self.cancel)?;
            Ok((service, containers.into_iter().map(|container| container.name).collect()))
        };
        Some(
            self.reach("blob", Service::Blob, endpoint)
                .and_then(|()| list().map_err(|error| self.trouble(endpoint, &error))),
        )
    }

    /// The file service and its shares; `None` if the account has no such service.
    fn files(&self, credential: Credential) -> Option<Shares> {
        let endpoint = self.account.file_endpoint.as_deref()?;
        let list = || -> Result<_> {
            let service = FileService::new(self.azure.http(), endpoint, &self.account.name, credential)?;
            let shares = service.shares(self.cancel)?;
            Ok((service, shares))
        };
        Some(
            self.reach("file", Service::File, endpoint)
                .and_then(|()| list().map_err(|error| self.trouble(endpoint, &error))),
        )
    }

    /// Whether the service answers at all. A busy one gets the normal timeout.
    fn reach(&self, what: &str, service: Service, endpoint: &str) -> Result<(), Trouble> {
        match self.probe.reach(service, endpoint, self.cancel) {
            Ok(Reach::Answers | Reach::Busy) => Ok(()),
            Ok(Reach::Silent(failure)) => {
                let error = Error::failed(format!("its {what} service does not answer: {failure}")).hint(
                    "let this machine into the account's network (private endpoint, firewall, DNS), or exclude the account \
                     with exclude_accounts",
                );
                Err(self.trouble(endpoint, &error))
            }
            Err(error) => Err(self.trouble(endpoint, &error)),
        }
    }

    /// The problem of a service for this error.
    fn trouble(&self, endpoint: &str, error: &Error) -> Trouble {
        // If the error has a hint, services with the same error have the same problem.
        let shared = error.hint_text().map_or_else(
            || error.summary().replace(endpoint.trim_end_matches('/'), "ADDRESS"),
            str::to_owned,
        );
        Trouble { alone: self.told(error), shared }
    }

    /// An error as the problem of an item, with the state of the subscription.
    fn told(&self, error: &Error) -> Problem {
        match self.disabled {
            Some(disabled) => Problem::new(format!("{disabled}: {}", error.summary()))
                .hint("enable the subscription again, or exclude the account with exclude_accounts"),
            None => error.into(),
        }
    }
}

/// The share snapshots left by killed runs.
fn left_behind(share: &Share) -> Option<(String, Vec<ExistingSnapshot>)> {
    let ours = |snapshot: &&ExistingSnapshot| mark_of(snapshot).is_some_and(is_orphan);
    let orphans: Vec<_> = share.snapshots.iter().filter(ours).cloned().collect();
    (!orphans.is_empty()).then(|| (share.name.clone(), orphans))
}

/// The mark of a snapshot, if it was created by this program.
pub(super) fn mark_of(snapshot: &ExistingSnapshot) -> Option<&str> {
    let mut metadata = snapshot.metadata.iter();
    metadata.find(|(key, _)| key.eq_ignore_ascii_case(MARK)).map(|(_, value)| value.as_str())
}

fn nfs() -> Problem {
    Problem::new("it is an NFS share, which cannot be read over HTTPS: NOT protected").hint(
        "mount it and back it up with a source of kind \"directory\", or exclude it with exclude_shares",
    )
}

fn add(found: &mut Discovery, name: String, rule: Option<String>, problem: Option<Problem>) {
    match rule {
        Some(rule) => found.excluded.push(Excluded { name, rule }),
        None => found.items.push(Item { name, estimate: None, problem }),
    }
}

fn broken(name: String, problem: Problem) -> Item {
    Item { name, estimate: None, problem: Some(problem) }
}

/// What marks the share snapshots of this run: host, process and time.
pub(super) fn run_mark() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    format!("{} {} {seconds}", host(), std::process::id())
}

fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // It is sent in a header.
    name.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).collect()
}

/// Whether the run with this mark has ended: its process no longer exists or, on another machine, it is too old.
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
    // A process of another user, which may not be signalled, still exists.
    let gone = |process| rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH);
    old || process.is_some_and(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_with_the_same_trouble_are_one_item() {
        let trouble = |alone: &str, shared: &str| {
            Some(Trouble { alone: Problem::new(alone), shared: shared.to_owned() })
        };
        let names = |blobs: Option<Trouble>, files: Option<Trouble>| {
            let mut found = Discovery::default();
            add_troubles(&mut found, "acct", blobs, files);
            let names: Vec<_> = found.items.into_iter().map(|item| item.name).collect();
            (names.join(" "), found.unknown.join(" "))
        };
        let of = |items: &str, unknown: &str| (items.to_owned(), unknown.to_owned());
        assert_eq!(names(trouble("blobs", "x"), trouble("files", "x")), of("acct", ""));
        assert_eq!(names(trouble("b", "x"), trouble("f", "y")), of("acct acct/share:", "acct/share:"));
        assert_eq!(names(None, trouble("f", "y")), of("acct/share:", "acct/share:"));
        assert_eq!(names(trouble("b", "x"), None), of("acct", ""));
        assert_eq!(names(None, None), of("", ""));
    }

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
