//! The key files of a repository. A damaged one must not keep the others from opening it: the library fails at the first that
//! it cannot read, so it is given only the intact ones.

use std::sync::Arc;

use bytes::Bytes;
use rustic_core::{
    BytesList, Credentials, FileType, Id, ReadBackend, RepositoryBackends, RepositoryOptions, RusticError,
    RusticResult, WriteBackend, repofile::KeyFile,
};

use super::{
    crypto,
    errors::{hint_of, rustic_error},
    handle::Opened,
    remote_errors,
    storage::Storage,
};
use crate::{
    config::RepositoryConfig,
    error::{Error, Result},
};

/// The memory limit for deriving a key; restic's own parameters need far less.
const MEMORY: u64 = 2 << 30;

/// The storage as the library sees it: with the intact key files.
#[derive(Debug)]
struct WithKeys {
    inner: Arc<dyn WriteBackend>,
    keys: Keys,
}

/// Key files by their ids.
type Keys = Vec<(Id, Bytes)>;

/// The usable key files, and the names of the damaged ones. A file whose content does not match its name may still be
/// usable, for example if it was renamed.
fn read(storage: &Storage) -> RusticResult<(Keys, Vec<String>)> {
    let backend = storage.backend();
    let (mut usable, mut damaged) = (Vec::new(), Vec::new());
    for id in backend.list(FileType::Key)? {
        let content = backend.read_full(FileType::Key, &id)?;
        if crypto::hash(&content) != id || !is_usable(&content) {
            damaged.push(id.to_hex().as_str().to_owned());
        }
        if is_usable(&content) {
            usable.push((id, content));
        }
    }
    Ok((usable, damaged))
}

/// Whether this is a usable key: a damaged file must cause neither a panic nor the use of all memory.
pub(super) fn is_usable(content: &[u8]) -> bool {
    serde_json::from_slice::<KeyFile>(content).is_ok_and(|key| {
        let memory = u64::from(key.n).saturating_mul(u64::from(key.r)).saturating_mul(128);
        key.n > 1 && key.n.is_power_of_two() && key.r > 0 && (1..=64).contains(&key.p) && memory <= MEMORY
    })
}

/// Opens the repository with the password.
///
/// # Errors
/// The password opens no intact key, or the repository cannot be opened for another reason.
pub(super) fn open(config: &RepositoryConfig, storage: &Storage) -> Result<Opened> {
    let place = &config.location;
    let password = config.password_file.load()?;
    let (keys, damaged) = read(storage).map_err(|e| rustic_error("cannot read the key files", e))?;
    if keys.is_empty() {
        return Err(none(place, &damaged));
    }
    let shown = WithKeys { inner: storage.backend(), keys };
    let options = RepositoryOptions::default().no_cache(true);
    let opened = rustic_core::Repository::new(&options, &RepositoryBackends::new(Arc::new(shown), None))
        .and_then(|handle| handle.open(&Credentials::password(password.expose())));
    opened.map_err(|error| refused(place, &damaged, error))
}

fn none(place: &dyn std::fmt::Display, damaged: &[String]) -> Error {
    let restore = "put the file back from a copy of the repository (each copy has the same keys); without any key nothing \
                   that is stored can be read: see docs/operations.md";
    if damaged.is_empty() {
        return Error::repository(format!(
            "the repository at {place} has no key: its directory `keys` is empty"
        ))
        .hint(restore);
    }
    Error::repository(format!(
        "every key of the repository at {place} is damaged: keys/{}",
        damaged.join(", keys/")
    ))
    .hint(restore)
}

fn refused(place: &dyn std::fmt::Display, damaged: &[String], error: Box<RusticError>) -> Error {
    if error.is_incorrect_password() {
        let refused = Error::repository(format!("the password does not open the repository at {place}"));
        if damaged.is_empty() {
            return refused.hint("check the file named by `repository.password_file`");
        }
        let files = damaged.join(", keys/");
        return refused.because_text(format!("damaged key files are left out: keys/{files}")).hint(
            "check the file named by `repository.password_file`; if the key of this password is the damaged one, put it back \
             from a copy of the repository, or use the password of another key",
        );
    }
    // The keys were read before, so the cause is the file `config`.
    if remote_errors::passes(&*error) || remote_errors::plain(&*error).is_some() || hint_of(&*error).is_some()
    {
        return rustic_error("cannot open the repository", error);
    }
    Error::repository(format!("the file `config` of the repository at {place} is damaged")).hint(
        "put it back from a copy of the repository: its content is stored nowhere else; the stored data is not affected, see \
         docs/operations.md",
    )
}

impl ReadBackend for WithKeys {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if tpe != FileType::Key {
            return self.inner.list_with_size(tpe);
        }
        let size = |content: &Bytes| u32::try_from(content.len()).unwrap_or(u32::MAX);
        Ok(self.keys.iter().map(|(id, content)| (*id, size(content))).collect())
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        if tpe != FileType::Key {
            return self.inner.list(tpe);
        }
        Ok(self.keys.iter().map(|(id, _)| *id).collect())
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        let known = self.keys.iter().find(|(key, _)| tpe == FileType::Key && key == id);
        match known {
            Some((_, content)) => Ok(content.clone()),
            None => self.inner.read_full(tpe, id),
        }
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.inner.read_partial(tpe, id, cacheable, offset, length)
    }

    fn needs_warm_up(&self) -> bool {
        self.inner.needs_warm_up()
    }

    fn warm_up(&self, tpe: FileType, id: &Id) -> RusticResult<()> {
        self.inner.warm_up(tpe, id)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.inner.warmup_path(tpe, id)
    }
}

impl WriteBackend for WithKeys {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        self.inner.write_bytes(tpe, id, cacheable, content)
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.inner.remove(tpe, id, cacheable)
    }
}
