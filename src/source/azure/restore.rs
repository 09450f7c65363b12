//! Putting a container or share back into an account: contents with their properties, nothing overwritten unless asked.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Serialize, de::DeserializeOwned};

use super::{Place, SHARE, client, container, inventory, share};
use crate::{
    azure::{
        Account, Azure, Credential, Settings,
        blob::{self, BlobService, BlobType},
        files::{FileService, SmbProperties, Uploaded as FileUploaded},
    },
    config::{AzurePrincipal, Secret},
    error::{Error, Result},
    output::name,
    source::{Files, MANIFEST, manifest::Manifest, restore::Options},
    stream::cancel::Cancel,
};

/// Uploads at the same time.
const WORKERS: usize = 8;
/// Lines that are handed on together.
const BATCH: usize = 256;
/// Contents up to this size are read before they are sent.
const SMALL: u64 = 4 << 20;
/// Names that a report writes out.
const NAMES: usize = 20;

/// Where to restore to, and who may.
pub struct Target {
    /// `ACCOUNT/CONTAINER`, `ACCOUNT/share:NAME`, or the URL of a container or share.
    pub into: String,
    /// The service principal of the source, if that is configured.
    pub principal: Option<AzurePrincipal>,
    /// A key of the account or a shared access signature, which go before the service principal.
    pub secret: Option<Secret>,
}

/// What was put back. The field names are a promise.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Account and container or share.
    pub into: String,
    /// Was it created?
    pub created: bool,
    /// Blobs or files that were written.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Directories that were made.
    pub directories: u64,
    /// Blobs that the snapshot only knows by name, because they were in the archive tier.
    pub missing: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
}

enum Service {
    Container(BlobService, String),
    Share(FileService, String),
}

impl Target {
    fn resolve(&self, wants_share: bool, cancel: &Cancel) -> Result<(Service, String)> {
        let azure = match &self.principal {
            Some(principal) => client(principal)?,
            None => anonymous()?,
        };
        let secret = self.secret.as_ref().map(credential);
        let (account, endpoint, place) = match self.into.split_once("://") {
            Some(_) => by_url(&self.into)?,
            None => {
                let place = Place::parse(&self.into).ok_or_else(|| {
                    Error::usage(format!(
                        "--into {}: write ACCOUNT/CONTAINER, ACCOUNT/{SHARE}NAME or a URL",
                        self.into
                    ))
                })?;
                if wants_share != matches!(place, Place::Share { .. }) {
                    return Err(wrong_kind(wants_share));
                }
                let account = self.find(&azure, place.account(), cancel)?.ok_or_else(|| {
                    Error::failed(format!("the service principal sees no storage account {}", place.account()))
                        .hint("correct the name, give it the role Reader on the account, or write the container's URL")
                })?;
                let endpoint = if wants_share { &account.file_endpoint } else { &account.blob_endpoint };
                let endpoint = endpoint.clone().ok_or_else(|| {
                    Error::failed(format!("the storage account {} has no such service", account.name))
                })?;
                let (Place::Container { container: rest, .. } | Place::Share { share: rest, .. }) = place;
                (account.name.clone(), endpoint, rest.to_owned())
            }
        };
        let credential = match secret {
            Some(credential) => credential,
            None if self.principal.is_none() => {
                return Err(Error::usage("nobody to log in as: the source is not configured").hint(
                    "name a file with a key of the account or a shared access signature: --password-file FILE",
                ));
            }
            None => match self.find(&azure, &account, cancel) {
                Ok(Some(found)) => azure.credential(&found, cancel)?,
                Ok(None) | Err(_) => azure.bearer(),
            },
        };
        let shown =
            if wants_share { format!("{account}/{SHARE}{place}") } else { format!("{account}/{place}") };
        let service = if wants_share {
            Service::Share(FileService::new(azure.http(), &endpoint, &account, credential)?, place)
        } else {
            Service::Container(azure.blobs(&endpoint, &account, credential)?, place)
        };
        Ok((service, shown))
    }

    fn find(&self, azure: &Azure, name: &str, cancel: &Cancel) -> Result<Option<Account>> {
        if self.principal.is_none() {
            return Err(Error::usage(format!(
                "--into {}: the source is not configured, so that its accounts cannot be looked up",
                self.into
            ))
            .hint("write the URL of the container or share, and name a file with a key in --password-file"));
        }
        for subscription in azure.subscriptions(cancel)? {
            let accounts = azure.storage_accounts(&subscription, cancel)?;
            if let Some(found) = accounts.into_iter().find(|account| account.name == name) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// A client that knows no service principal.
fn anonymous() -> Result<Azure> {
    Azure::new(Settings::public("none".to_owned(), "none".to_owned(), Secret::new(String::new())))
}

fn credential(secret: &Secret) -> Credential {
    let text = secret.expose().trim();
    if text.starts_with('?') || text.contains("sig=") {
        Credential::from_sas(Secret::new(text.trim_start_matches('?').to_owned()))
    } else {
        Credential::from_key(Secret::new(text.to_owned()))
    }
}

fn wrong_kind(share: bool) -> Error {
    if share {
        Error::usage(format!("the item is a file share: write --into ACCOUNT/{SHARE}NAME"))
    } else {
        Error::usage("the item is a blob container: write --into ACCOUNT/CONTAINER")
    }
}

/// Account, endpoint and container or share of a URL such as `https://ACCOUNT.blob.core.windows.net/CONTAINER`, or
/// `http://127.0.0.1:10000/ACCOUNT/CONTAINER` of an emulator.
fn by_url(url: &str) -> Result<(String, String, String)> {
    let fault = || {
        Error::usage(format!("--into {}: this is not the URL of a container or share", name(url)))
            .hint("write https://ACCOUNT.blob.core.windows.net/CONTAINER or https://ACCOUNT.file.core.windows.net/SHARE")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(fault)?;
    if rest.contains(['@', '?', '#']) {
        return Err(Error::usage("--into: the URL of a container or share carries no secret")
            .hint("put the key or the shared access signature into a file and name it in --password-file"));
    }
    let mut parts = rest.trim_end_matches('/').split('/');
    let host = parts.next().filter(|host| !host.is_empty()).ok_or_else(fault)?;
    let parts: Vec<&str> = parts.collect();
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    let emulated = bare == "localhost" || bare.starts_with('[') || bare.parse::<std::net::IpAddr>().is_ok();
    match (&parts[..], emulated) {
        ([account, place], true) => {
            Ok(((*account).to_owned(), format!("{scheme}://{host}/{account}"), (*place).to_owned()))
        }
        ([place], false) => {
            let account = host.split('.').next().unwrap_or_default();
            Ok((account.to_owned(), format!("{scheme}://{host}"), (*place).to_owned()))
        }
        _ => Err(fault()),
    }
}

/// Restores a snapshot.
pub fn restore(
    manifest: &Manifest,
    files: &dyn Files,
    target: &Target,
    options: &Options,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Report> {
    let detail =
        manifest.azure.as_ref().ok_or_else(|| Error::failed("the manifest says nothing of a container"))?;
    let (service, into) = target.resolve(detail.share.is_some(), cancel)?;
    notice(&format!("restoring into {into}"));
    let tally = Tally::default();
    let mut report = match &service {
        Service::Container(service, container) => {
            let restore = ContainerRestore { service, container, files, options, cancel, tally: &tally };
            restore.run(detail.stored, &into)?
        }
        Service::Share(service, share) => {
            let restore = ShareRestore { service, share, files, options, cancel, tally: &tally };
            restore.run(&into)?
        }
    };
    report.files = tally.files.load(Ordering::Relaxed);
    report.bytes = tally.bytes.load(Ordering::Relaxed);
    report.notes.extend(tally.notes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()));
    if report.files != detail.stored || report.bytes != detail.bytes {
        return Err(Error::failed(format!(
            "{into}: {} files of {} bytes were written, but the snapshot has {} of {} bytes",
            report.files, report.bytes, detail.stored, detail.bytes
        )));
    }
    report.into = into;
    Ok(report)
}

/// How many blobs or files have a path that is not their name, and the first `room` of them: name and path.
pub(crate) fn renamed(files: &dyn Files, room: usize) -> Result<(u64, Vec<(String, String)>)> {
    let manifest = Manifest::from_json(&files.read(MANIFEST)?)?;
    let (mut count, mut first) = (0, Vec::new());
    let mut look = |top: &str, name: String, path: Option<String>| {
        let Some(path) = path else { return };
        if path.strip_prefix(top).and_then(|path| path.strip_prefix('/')) != Some(&name) {
            count += 1;
            if first.len() < room {
                first.push((name, path));
            }
        }
    };
    if manifest.azure.is_some_and(|detail| detail.share.is_some()) {
        inventory::each::<share::Line>(files, share::INVENTORY, &mut |line| {
            look(share::TOP, line.name, Some(line.path));
            Ok(())
        })?;
    } else {
        inventory::each::<container::Line>(files, container::INVENTORY, &mut |line| {
            look(container::TOP, line.name, line.path);
            Ok(())
        })?;
    }
    Ok((count, first))
}

#[derive(Default)]
struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    notes: Mutex<Vec<String>>,
}

impl Tally {
    fn wrote(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if notes.len() < NAMES && !notes.contains(&note) {
            notes.push(note);
        }
    }
}

fn exists(what: &str, into: &str) -> Error {
    Error::failed(format!("{into} has {what} already")).hint(
        "nothing was overwritten; name another target, or say --overwrite to replace what has the same name",
    )
}

struct ContainerRestore<'a> {
    service: &'a BlobService,
    container: &'a str,
    files: &'a dyn Files,
    options: &'a Options,
    cancel: &'a Cancel,
    tally: &'a Tally,
}

impl ContainerRestore<'_> {
    fn run(&self, stored: u64, into: &str) -> Result<Report> {
        let created = self.service.create_container(self.container, &BTreeMap::new(), self.cancel)?;
        if !created && !self.options.overwrite {
            let page = self.service.list(self.container, None, None, self.cancel)?;
            if let Some(blob) = page.blobs.first() {
                return Err(exists(&format!("the blob {}", name(&blob.name)), into));
            }
        }
        let (missing, directories) = (AtomicU64::new(0), AtomicU64::new(0));
        each_parallel::<container::Line>(self.files, container::INVENTORY, self.cancel, &|line| match &line
            .path
        {
            Some(path) => self.upload(&line, path, into),
            None if line.kind == "directory" => {
                directories.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            None => {
                missing.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        })?;
        if created || !self.options.overwrite {
            self.compare(stored, into)?;
        }
        let missing = missing.into_inner();
        let mut report = Report { created, missing, ..Report::default() };
        if missing > 0 {
            report
                .notes
                .push(format!("{missing} blobs were in the archive tier and are not in the snapshot"));
        }
        if directories.into_inner() > 0 {
            report
                .notes
                .push("directories come with the blobs in them; empty ones are not restored".to_owned());
        }
        Ok(report)
    }

    fn upload(&self, line: &container::Line, path: &str, into: &str) -> Result<()> {
        let what = || format!("blob {}", name(&line.name));
        let kind = match line.kind.as_str() {
            "block" => BlobType::Block,
            "append" => BlobType::Append,
            "page" => BlobType::Page,
            other => return Err(Error::failed(format!("{}: the kind {other:?} is not known", what()))),
        };
        let uploaded = with_content(self.files, path, line.bytes, &mut |content| {
            self.service.upload(
                self.container,
                &line.name,
                kind,
                &line.properties,
                line.bytes,
                content,
                self.options.overwrite,
                self.cancel,
            )
        })
        .map_err(|e| e.context(what()))?;
        match uploaded {
            blob::Uploaded::Exists => Err(exists(&what(), into)),
            blob::Uploaded::Done { notes } => {
                notes.into_iter().for_each(|note| self.tally.note(note));
                self.tally.wrote(line.bytes);
                Ok(())
            }
        }
    }

    /// What the container holds now must be what was put into it.
    fn compare(&self, stored: u64, into: &str) -> Result<()> {
        let (mut marker, mut count) = (None, 0);
        loop {
            let page = self.service.list(self.container, marker.as_deref(), None, self.cancel)?;
            count += page.blobs.iter().filter(|blob| !blob.directory).count() as u64;
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        if count == stored {
            return Ok(());
        }
        Err(Error::failed(format!("{into} has {count} blobs after the restore, the snapshot has {stored}"))
            .hint("did somebody else write to it meanwhile? empty it before the next try"))
    }
}

struct ShareRestore<'a> {
    service: &'a FileService,
    share: &'a str,
    files: &'a dyn Files,
    options: &'a Options,
    cancel: &'a Cancel,
    tally: &'a Tally,
}

/// Gigabytes that a new share may hold; it is no reservation.
const QUOTA: u64 = 5120;

impl ShareRestore<'_> {
    fn run(&self, into: &str) -> Result<Report> {
        let created = self.service.create_share(self.share, QUOTA, &BTreeMap::new(), self.cancel)?;
        if !created && !self.options.overwrite && self.service.has_content(self.share, self.cancel)? {
            return Err(exists("files", into));
        }
        let directories = self.directories()?;
        each_parallel::<share::Line>(self.files, share::INVENTORY, self.cancel, &|line| {
            if line.kind == "directory" { Ok(()) } else { self.upload(&line, into) }
        })?;
        // Every file that is written changes the times of the directory that it lies in.
        self.directories()?;
        Ok(Report { created, directories, ..Report::default() })
    }

    /// Makes the directories, or gives those that are there their attributes and times again.
    fn directories(&self) -> Result<u64> {
        let mut count = 0;
        inventory::each::<share::Line>(self.files, share::INVENTORY, &mut |line| {
            if line.kind != "directory" {
                return Ok(());
            }
            self.cancel.check()?;
            count += 1;
            let smb = without_permission(&line);
            let (metadata, path) = (&line.properties.metadata, &line.name);
            self.service
                .create_directory(self.share, path, metadata, &smb, true, self.cancel)
                .map(drop)
                .map_err(|e| e.context(format!("directory {}", name(path))))
        })?;
        Ok(count)
    }

    fn upload(&self, line: &share::Line, into: &str) -> Result<()> {
        let what = || format!("file {}", name(&line.name));
        let smb = without_permission(line);
        let uploaded = with_content(self.files, &line.path, line.bytes, &mut |content| {
            self.service.upload(
                self.share,
                &line.name,
                line.bytes,
                &line.properties,
                &smb,
                content,
                self.options.overwrite,
                self.cancel,
            )
        })
        .map_err(|e| e.context(what()))?;
        match uploaded {
            FileUploaded::Exists => Err(exists(&what(), into)),
            FileUploaded::Done => {
                self.tally.wrote(line.bytes);
                Ok(())
            }
        }
    }
}

/// A permission's key is known to its own share alone.
fn without_permission(line: &share::Line) -> SmbProperties {
    SmbProperties { permission_key: None, ..line.smb.clone() }
}

/// Shows the lines of a list to several threads. The first error ends it.
fn each_parallel<T: DeserializeOwned + Send>(
    files: &dyn Files,
    path: &str,
    cancel: &Cancel,
    visit: &(dyn Fn(T) -> Result<()> + Sync),
) -> Result<()> {
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        let (out, lines): (Sender<Vec<T>>, Receiver<Vec<T>>) = bounded(WORKERS);
        for _ in 0..WORKERS {
            let (lines, failure) = (lines.clone(), &failure);
            scope.spawn(move || {
                for line in lines.iter().flatten() {
                    if let Err(error) = cancel.check().and_then(|()| visit(line)) {
                        failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
                        return;
                    }
                }
            });
        }
        drop(lines);
        let mut batch = Vec::new();
        let gone = || Error::failed("the uploading threads are gone");
        let hand_on = |batch: &mut Vec<T>| {
            let failed = failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_some();
            if failed { Err(gone()) } else { out.send(std::mem::take(batch)).map_err(|_| gone()) }
        };
        inventory::each(files, path, &mut |line| {
            batch.push(line);
            if batch.len() >= BATCH { hand_on(&mut batch) } else { Ok(()) }
        })?;
        hand_on(&mut batch)
    })
    .or_else(|error| match failure.lock() {
        // What stopped the threads is the cause.
        Ok(failure) if failure.is_some() => Ok(()),
        _ => Err(error),
    })?;
    failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

/// Gives `take` the content of a file as a stream.
fn with_content<T: Send>(
    files: &dyn Files,
    path: &str,
    bytes: u64,
    take: &mut (dyn FnMut(&mut dyn Read) -> Result<T> + Send),
) -> Result<T> {
    if bytes <= SMALL {
        let content = files.read(path)?;
        return take(&mut content.as_slice());
    }
    let (mut reader, mut writer) = io::pipe().map_err(|e| Error::failed("cannot make a pipe").because(&e))?;
    thread::scope(|scope| {
        let copying = scope.spawn(move || {
            let copied = files.copy(path, &mut writer);
            writer.flush().map_err(|e| Error::from_io("cannot pass content on", e)).and(copied)
        });
        let taken = take(&mut reader);
        drop(reader);
        let copied = copying.join().unwrap_or_else(|_| Err(Error::failed("reading the repository panicked")));
        match (taken, copied) {
            // A content that breaks off fails the upload; the cause is why it broke off.
            (_, Err(error)) if !error.summary().contains("Broken pipe") => Err(error),
            (taken, _) => taken,
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_account_and_container() {
        let of = |url| by_url(url).map(|(account, endpoint, place)| format!("{account} {endpoint} {place}"));
        assert_eq!(
            of("https://acct.blob.core.windows.net/photos").unwrap(),
            "acct https://acct.blob.core.windows.net photos"
        );
        assert_eq!(
            of("http://127.0.0.1:10000/dev/photos/").unwrap(),
            "dev http://127.0.0.1:10000/dev photos"
        );
        for bad in
            ["https://acct.blob.core.windows.net", "https://a.b/c/d", "https://a.b/c?sig=x", "https:///c"]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
        let error = of("https://a.b/c?sv=1&sig=geheim").unwrap_err();
        assert!(!error.summary().contains("geheim"));
    }
}
