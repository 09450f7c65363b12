//! Lists containers and shares without a backup: counts the entries that patterns exclude, and checks whether one was deleted.

use super::{
    Place,
    discover::Reached,
    reach::{Probe, Reach},
};
use crate::{
    azure::{blob::BlobService, files::FileService, request::Service},
    error::Result,
    source::exclude::Excludes,
    stream::cancel::Cancel,
};

/// The number of entries that each pattern excludes.
struct Counts<'a> {
    excludes: &'a Excludes,
    entries: Vec<u64>,
}

impl<'a> Counts<'a> {
    fn new(excludes: &'a Excludes) -> Self {
        Self { excludes, entries: vec![0; excludes.patterns().len()] }
    }

    fn add(&mut self, rule: usize) {
        if let Some(count) = self.entries.get_mut(rule) {
            *count += 1;
        }
    }

    /// The patterns that exclude anything.
    fn into_pairs(self) -> Vec<(String, u64)> {
        let pairs = self.excludes.patterns().map(str::to_owned).zip(self.entries);
        pairs.filter(|(_, entries)| *entries > 0).collect()
    }
}

/// The number of blobs of a container that each pattern excludes.
pub(super) fn container(
    service: &BlobService,
    container: &str,
    excludes: &Excludes,
    cancel: &Cancel,
) -> Result<Vec<(String, u64)>> {
    let mut counts = Counts::new(excludes);
    let mut listing = service.listing(container, None);
    while let Some(page) = listing.next(cancel)? {
        for blob in &page.blobs {
            if let Some(rule) = excludes.matched_within(&blob.name, blob.directory) {
                counts.add(rule);
            }
        }
    }
    Ok(counts.into_pairs())
}

/// The number of files and directories of the live share that each pattern excludes. A directory counts once: it is excluded with
/// its content, and not listed.
pub(super) fn share(
    service: &FileService,
    share: &str,
    excludes: &Excludes,
    cancel: &Cancel,
) -> Result<Vec<(String, u64)>> {
    let mut counts = Counts::new(excludes);
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        service.each_live_entry(share, &directory, cancel, &mut |entry| {
            let path =
                if directory.is_empty() { entry.name.clone() } else { format!("{directory}/{}", entry.name) };
            match excludes.matched_within(&path, entry.directory) {
                Some(rule) => counts.add(rule),
                None if entry.directory => directories.push(path),
                None => {}
            }
        })?;
    }
    Ok(counts.into_pairs())
}

/// Whether this container or share is missing from a complete list of the account. False if the list cannot be read.
pub(super) fn is_gone(place: &Place<'_>, reached: &Reached, probe: &Probe, cancel: &Cancel) -> bool {
    let answers = |service: Service, endpoint: &Option<String>| {
        // A busy or silent service would delay the run for minutes.
        let reach = |address: &String| probe.reach(service, address, cancel);
        endpoint.as_ref().is_some_and(|address| matches!(reach(address), Ok(Reach::Answers)))
    };
    match place {
        Place::Container { container, .. } => {
            let Some(service) = &reached.blobs else { return false };
            answers(Service::Blob, &reached.account.blob_endpoint)
                && service
                    .containers(cancel)
                    .is_ok_and(|all| all.iter().all(|listed| listed.name != *container))
        }
        Place::Share { share, .. } => {
            let Some(service) = &reached.files else { return false };
            answers(Service::File, &reached.account.file_endpoint)
                && service.shares(cancel).is_ok_and(|all| all.iter().all(|listed| listed.name != *share))
        }
    }
}
