//! SFTP servers. All requests use one connection, and are sent without waiting for the answers to others: a server that is
//! 20 ms away answers hundreds of them in the time of a few.

mod directories;
mod session;
mod transfer;

use std::{
    collections::BTreeMap,
    fmt, mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::join;
use openssh_sftp_client::{Error as Client, Sftp as Protocol, error::SftpErrorKind, file::File};
use parking_lot::Mutex;
use rustic_core::{ErrorKind, RusticError, RusticResult, WriteBackend};

use self::{
    session::{Address, Session, run},
    transfer::{is_same, no_length, read_all, read_part, write_all},
};
use super::{
    local_files::TMP_MARK,
    objects::{Listed, Missing, ObjectError, ObjectStorage, Objects, Result},
};

/// Drafts that could not be removed. The connections of a storage share them.
pub(super) type Leftovers = Arc<Mutex<Vec<PathBuf>>>;

/// Connects to the server that the options of a location name, in the form that `rustic_core` requires.
pub(super) fn connect(
    options: &BTreeMap<String, String>,
    leftovers: &Leftovers,
) -> RusticResult<Arc<dyn WriteBackend>> {
    let connected = Sftp::connect(options, leftovers).map_err(|error| {
        RusticError::with_source(ErrorKind::Backend, "cannot connect to the SFTP server", error)
    })?;
    Ok(Arc::new(ObjectStorage(connected)))
}

/// Free space that remains after a file for which there is enough of it.
const RESERVE: u64 = 1 << 20;
/// The flag of a read-only file system in an answer of the server.
const READ_ONLY: u64 = 1;

/// Makes the names of drafts different.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A directory on an SFTP server.
pub(super) struct Sftp {
    /// Empty for the directory in which the user is after logging in.
    root: PathBuf,
    server: String,
    session: Session,
    leftovers: Leftovers,
}

impl fmt::Debug for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sftp").field("server", &self.server).field("root", &self.root).finish_non_exhaustive()
    }
}

/// The directory of the repository. A relative path has always been one below the server's root, unlike with stock restic.
fn root(options: &BTreeMap<String, String>) -> PathBuf {
    options.get("root").map_or_else(PathBuf::new, |root| Path::new("/").join(root.trim_matches('/')))
}

impl Sftp {
    fn connect(options: &BTreeMap<String, String>, leftovers: &Leftovers) -> Result<Self> {
        let address = Address::from_options(options)?;
        let session = Session::open(&address)?;
        let (root, server) = (root(options), address.server());
        Ok(Self { root, server, session, leftovers: leftovers.clone() })
    }

    fn client(&self) -> &Protocol {
        self.session.client()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    async fn open(&self, path: &Path) -> Result<File> {
        Ok(self.client().open(path).await?)
    }

    /// Creates the draft of a file. Other programs create the directories of packs only when they need them. A repository
    /// without one of the others is damaged, or its disk is not mounted.
    async fn create_draft(&self, draft: &Path) -> Result<File> {
        let directory = draft.parent().unwrap_or(&self.root);
        match self.client().create(draft).await {
            Err(Client::SftpError(SftpErrorKind::NoSuchFile, _))
                if directory.parent() == Some(&self.path("data")) =>
            {
                directories::create(self.client().fs(), directory.to_owned()).await?;
                Ok(self.client().create(draft).await?)
            }
            other => Ok(other?),
        }
    }

    /// Writes a draft, and gives it its name after its whole content is stored.
    async fn store(&self, draft: &Path, target: &Path, content: &[Bytes]) -> Result<()> {
        let (client, mut fs) = (self.client(), self.client().fs());
        let mut file = self.create_draft(draft).await?;
        write_all(&file, content).await?;
        if client.support_fsync() {
            file.sync_all().await?;
        }
        if client.support_fsync() && client.support_posix_rename() {
            let (closed, renamed) = join(file.close(), fs.rename(draft, target)).await;
            return Ok(closed.and(renamed)?);
        }
        file.close().await?;
        match fs.rename(draft, target).await {
            Err(refused) if !client.support_posix_rename() => {
                self.replace(draft, target, content, refused.into()).await
            }
            other => Ok(other?),
        }
    }

    /// Gives a complete draft the name of a file. The server has refused that, perhaps because it does not replace files.
    async fn replace(
        &self,
        draft: &Path,
        target: &Path,
        content: &[Bytes],
        refused: ObjectError,
    ) -> Result<()> {
        if !matches!(refused, ObjectError::Answered(_) | ObjectError::Denied(_)) {
            return Err(refused);
        }
        let there = match self.open(target).await {
            Ok(file) => read_all(file).await,
            Err(error) => Err(error),
        };
        match there {
            // An earlier attempt has stored it.
            Ok(there) if is_same(&there, content) => {
                self.leftovers.lock().push(draft.to_owned());
                Ok(())
            }
            Ok(_) | Err(ObjectError::Cut) => {
                let mut fs = self.client().fs();
                fs.remove_file(target).await?;
                Ok(fs.rename(draft, target).await?)
            }
            Err(_) => Err(refused),
        }
    }

    /// The reason of a failed write. Servers have one answer for most failures, but a full or read-only storage stays so.
    async fn reason(&self, error: ObjectError, content: &[Bytes]) -> ObjectError {
        if !matches!(error, ObjectError::Answered(_)) || !self.client().support_statvfs() {
            return error;
        }
        let root = if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root };
        let Ok(disk) = self.client().fs().statvfs(root).await else { return error };
        let needed = RESERVE + content.iter().map(|part| part.len() as u64).sum::<u64>();
        let is_full = disk.bavail.saturating_mul(disk.frsize) < needed || disk.files > 0 && disk.favail == 0;
        if disk.flag & READ_ONLY != 0 {
            ObjectError::ReadOnly
        } else if disk.blocks > 0 && is_full {
            ObjectError::Full
        } else {
            error
        }
    }

    /// Removes drafts of failed writes. Those that cannot be removed now are tried again after the next write.
    fn remove_leftovers(&self) {
        let mut drafts = mem::take(&mut *self.leftovers.lock());
        drafts.retain(|draft| !matches!(self.remove_path(draft), Ok(()) | Err(ObjectError::Absent)));
        self.leftovers.lock().extend(drafts);
    }

    fn remove_path(&self, path: &Path) -> Result<()> {
        run(async { Ok(self.client().fs().remove_file(path).await?) })
    }
}

impl Objects for Sftp {
    fn location(&self) -> String {
        format!("sftp:{}:{}", self.server, self.root.display())
    }

    fn list(&self, directories: Vec<String>, missing: Missing) -> Result<Vec<Listed>> {
        run(directories::list(&self.client().fs(), &self.root, directories, missing))
    }

    fn length(&self, path: &str) -> Result<u64> {
        let path = self.path(path);
        run(async { self.client().fs().metadata(path).await?.len().ok_or_else(no_length) })
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        run(async { read_all(self.open(&self.path(path)).await?).await })
    }

    fn read_part(&self, path: &str, offset: u64, length: usize) -> Result<Bytes> {
        run(async { read_part(self.open(&self.path(path)).await?, offset, length).await })
    }

    fn write(&self, path: &str, content: &[Bytes]) -> Result<()> {
        let target = self.path(path);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let draft = self.path(&format!("{path}{TMP_MARK}{}-{number}", std::process::id()));
        let written = run(async {
            match self.store(&draft, &target, content).await {
                Err(error) => Err(self.reason(error, content).await),
                stored => stored,
            }
        });
        if written.is_err() {
            self.leftovers.lock().push(draft);
        }
        // Over a broken connection nothing can be removed.
        if !matches!(written, Err(ObjectError::Failed(_))) {
            self.remove_leftovers();
        }
        written
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.remove_path(&self.path(path))
    }

    fn create(&self, directories: Vec<String>) -> Result<()> {
        run(directories::create_all(&self.client().fs(), &self.root, directories))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "sftp_tests.rs"]
mod tests;
