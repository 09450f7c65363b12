//! SFTP servers. All requests use one connection, and are sent without waiting for the answers to others: a server that is
//! 20 ms away answers hundreds of them in the time of a few.

mod session;

use std::{
    collections::BTreeMap,
    fmt,
    io::SeekFrom,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, future::join, stream};
use openssh_sftp_client::{Error as Client, Sftp as Connection, error::SftpErrorKind, file::File, fs::Fs};
use rustic_core::{ErrorKind, RusticError, RusticResult, WriteBackend};
use tokio::{io::AsyncSeek, sync::Semaphore};

use self::session::{Address, Session, run, runtime};
use super::{
    local_files::TMP_MARK,
    objects::{Listed, ObjectError, ObjectStorage, Objects, Result},
};

/// Connects to the server that the options of a location name, in the form that `rustic_core` requires.
pub(super) fn connect(options: &BTreeMap<String, String>) -> RusticResult<Arc<dyn WriteBackend>> {
    let connected = Sftp::connect(options).map_err(|error| {
        RusticError::with_source(ErrorKind::Backend, "cannot connect to the SFTP server", error)
    })?;
    Ok(Arc::new(ObjectStorage(connected)))
}

/// Directories that are listed at the same time. A server may limit the number of open ones.
const LISTINGS: usize = 64;
/// Requests for content that are sent without waiting for the first answer.
const WINDOW: usize = 64;
/// Bytes of one of them. A server may answer with less.
const PIECE: usize = 128 << 10;

/// Makes the names of temporary files different.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A directory on an SFTP server.
pub(super) struct Sftp {
    root: PathBuf,
    server: String,
    session: Session,
}

impl fmt::Debug for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sftp").field("server", &self.server).field("root", &self.root).finish_non_exhaustive()
    }
}

impl Sftp {
    fn connect(options: &BTreeMap<String, String>) -> Result<Self> {
        let address = Address::from_options(options)?;
        // A relative path has always been one below the server's root, unlike with stock restic.
        let root = options.get("root").map_or("", |root| root.trim_matches('/'));
        let root = Path::new("/").join(root);
        let session = Session::open(&address)?;
        Ok(Self { root, server: address.server(), session })
    }

    fn client(&self) -> &Connection {
        self.session.client()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    async fn open(&self, path: &str) -> std::result::Result<File, Client> {
        self.client().open(self.path(path)).await
    }

    /// Opens a new file for writing. A directory that other programs have not created is created.
    async fn create_file(&self, path: &Path) -> std::result::Result<File, Client> {
        match self.client().create(path).await {
            Err(Client::SftpError(SftpErrorKind::NoSuchFile, _)) => {
                let directory = path.parent().unwrap_or(&self.root);
                create_directory(self.client().fs(), directory.to_owned()).await?;
                self.client().create(path).await
            }
            other => other,
        }
    }

    /// Writes the content of a temporary file, and gives it its name.
    async fn write_and_rename(
        &self,
        draft: &Path,
        path: &Path,
        content: &[Bytes],
    ) -> std::result::Result<(), Client> {
        let file = self.create_file(draft).await?;
        let pieces = pieces_of(content);
        let writes = stream::iter(pieces).map(|(offset, piece)| write_piece(file.clone(), offset, piece));
        // All answers are awaited: the client takes an unexpected one for a broken connection.
        let written: Vec<_> = writes.buffer_unordered(WINDOW).collect().await;
        written.into_iter().collect::<std::result::Result<(), _>>()?;
        let (mut to_sync, mut fs) = (file.clone(), self.client().fs());
        if self.client().support_fsync() {
            to_sync.sync_all().await?;
            drop(to_sync);
            let (closed, renamed) = join(file.close(), fs.rename(draft, path)).await;
            return closed.and(renamed);
        }
        drop(to_sync);
        file.close().await?;
        fs.rename(draft, path).await
    }
}

impl Objects for Sftp {
    fn location(&self) -> String {
        format!("sftp:{}:{}", self.server, self.root.display())
    }

    fn list(&self, directories: Vec<String>) -> Result<Vec<Listed>> {
        let limit = Arc::new(Semaphore::new(LISTINGS));
        let runtime = runtime()?;
        let listings: Vec<_> = directories
            .into_iter()
            .map(|directory| {
                let (fs, path, limit) = (self.client().fs(), self.path(&directory), limit.clone());
                runtime.spawn(async move {
                    let _permit = limit.acquire().await;
                    list_directory(fs, path).await
                })
            })
            .collect();
        run(async {
            let mut files = Vec::new();
            for listing in listings {
                files.extend(listing.await??);
            }
            Ok(files)
        })
    }

    fn length(&self, path: &str) -> Result<u64> {
        let path = self.path(path);
        let found = run(async { self.client().fs().metadata(path).await })?;
        found.len().ok_or_else(no_length)
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        let (length, content) = run(async {
            let mut file = self.open(path).await?;
            // For a small file, one round trip suffices.
            let first = read_piece(file.clone(), 0, PIECE);
            let (found, first) = join(file.metadata(), first).await;
            let (found, first) = (found?, first?);
            let Some(length) = found.len().and_then(|length| usize::try_from(length).ok()) else {
                return Ok((None, first.freeze()));
            };
            if length <= first.len() {
                return Ok((Some(length), first.freeze()));
            }
            let rest = read_pieces(&file, first.len() as u64, length - first.len()).await?;
            let mut content = BytesMut::with_capacity(length);
            content.extend_from_slice(&first);
            rest.iter().for_each(|piece| content.extend_from_slice(piece));
            Ok((Some(length), content.freeze()))
        })?;
        match length {
            Some(length) if length == content.len() => Ok(content),
            Some(_) => Err(ObjectError::Cut),
            None => Err(no_length()),
        }
    }

    fn read_part(&self, path: &str, offset: u64, length: usize) -> Result<Bytes> {
        let pieces = run(async {
            let file = self.open(path).await?;
            read_pieces(&file, offset, length).await
        })?;
        let mut content = BytesMut::with_capacity(length);
        pieces.iter().for_each(|piece| content.extend_from_slice(piece));
        if content.len() == length { Ok(content.freeze()) } else { Err(ObjectError::Cut) }
    }

    fn write(&self, path: &str, content: &[Bytes]) -> Result<()> {
        let target = self.path(path);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let draft = self.path(&format!("{path}{TMP_MARK}{}-{number}", std::process::id()));
        let mut written = run(self.write_and_rename(&draft, &target, content));
        if let (Err(ObjectError::Failed(_)), false) = (&written, self.client().support_posix_rename()) {
            // Such a server refuses to replace a file. An earlier attempt may have stored it.
            written = match self.read(path) {
                Ok(there) if is_same(&there, content) => Ok(()),
                Ok(_) => run(async {
                    let mut fs = self.client().fs();
                    fs.remove_file(&target).await?;
                    fs.rename(&draft, &target).await
                }),
                Err(_) => written,
            };
            if written.is_ok() {
                // It is there only if the target had the content already.
                let _ = self.remove_path(draft);
                return Ok(());
            }
        }
        if written.is_err() {
            // If this fails too, the file stays; it is in nobody's way.
            let _ = self.remove_path(draft);
        }
        written
    }

    fn remove(&self, path: &str) -> Result<()> {
        match self.remove_path(self.path(path)) {
            Err(ObjectError::Absent) => Ok(()),
            other => other,
        }
    }

    fn create(&self, directories: Vec<String>) -> Result<()> {
        run(async {
            let ancestors: Vec<_> = self.root.ancestors().collect();
            for directory in ancestors.into_iter().rev().skip(1) {
                create_directory(self.client().fs(), directory.to_owned()).await?;
            }
            // Those inside others are created after them.
            let (inner, outer): (Vec<_>, Vec<_>) =
                directories.into_iter().partition(|directory| directory.contains('/'));
            for group in [outer, inner] {
                let create = |directory: String| create_directory(self.client().fs(), self.path(&directory));
                let created: Vec<_> =
                    stream::iter(group).map(create).buffer_unordered(WINDOW).collect().await;
                created.into_iter().collect::<std::result::Result<(), _>>()?;
            }
            Ok(())
        })
    }
}

impl Sftp {
    fn remove_path(&self, path: PathBuf) -> Result<()> {
        run(async { self.client().fs().remove_file(path).await })
    }
}

async fn list_directory(mut fs: Fs, path: PathBuf) -> std::result::Result<Vec<Listed>, Client> {
    let directory = match fs.open_dir(&path).await {
        Ok(directory) => directory,
        Err(Client::SftpError(SftpErrorKind::NoSuchFile, _)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Box::pin(directory.read_dir());
    let mut files = Vec::new();
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        if entry.file_type().is_some_and(|tpe| tpe.is_dir()) {
            continue;
        }
        let Some(name) = entry.filename().to_str() else { continue };
        let bytes = match entry.metadata().len() {
            Some(bytes) => bytes,
            None => fs.metadata(path.join(name)).await?.len().unwrap_or(0),
        };
        files.push(Listed { name: name.to_owned(), bytes });
    }
    Ok(files)
}

/// Creates a directory unless it exists. A server may answer with an error that does not say which it is.
async fn create_directory(mut fs: Fs, path: PathBuf) -> std::result::Result<(), Client> {
    let Err(error) = fs.create_dir(&path).await else { return Ok(()) };
    match fs.metadata(&path).await {
        Ok(found) if found.file_type().is_none_or(|tpe| tpe.is_dir()) => Ok(()),
        _ => Err(error),
    }
}

/// Reads a part of a file: less only if the file ends before.
async fn read_pieces(file: &File, offset: u64, length: usize) -> std::result::Result<Vec<BytesMut>, Client> {
    let starts = (0..length).step_by(PIECE);
    let reads = starts.map(|at| read_piece(file.clone(), offset + at as u64, PIECE.min(length - at)));
    let pieces: Vec<_> = stream::iter(reads).buffered(WINDOW).collect().await;
    pieces.into_iter().collect()
}

/// As [`read_pieces`], one request after another: the server may answer with less than was requested.
async fn read_piece(mut file: File, offset: u64, length: usize) -> std::result::Result<BytesMut, Client> {
    let mut piece = BytesMut::with_capacity(length);
    while piece.len() < length {
        Pin::new(&mut file).start_seek(SeekFrom::Start(offset + piece.len() as u64))?;
        let missing = length - piece.len();
        match file.read(u32::try_from(missing).unwrap_or(u32::MAX), BytesMut::with_capacity(missing)).await? {
            Some(part) if piece.is_empty() => piece = part,
            Some(part) => piece.extend_from_slice(&part),
            None => break,
        }
    }
    Ok(piece)
}

async fn write_piece(mut file: File, offset: u64, mut piece: Bytes) -> std::result::Result<(), Client> {
    Pin::new(&mut file).start_seek(SeekFrom::Start(offset))?;
    while !piece.is_empty() {
        let written = file.write_zero_copy(std::slice::from_ref(&piece)).await?;
        piece.advance(written);
    }
    Ok(())
}

/// The content in pieces of at most [`PIECE`] bytes, with their offsets.
fn pieces_of(content: &[Bytes]) -> Vec<(u64, Bytes)> {
    let (mut pieces, mut offset) = (Vec::new(), 0);
    for part in content {
        let mut part = part.clone();
        while !part.is_empty() {
            let piece = part.split_to(PIECE.min(part.len()));
            let length = piece.len() as u64;
            pieces.push((offset, piece));
            offset += length;
        }
    }
    pieces
}

fn is_same(there: &[u8], content: &[Bytes]) -> bool {
    let mut rest = there;
    let same = content.iter().all(|part| rest.strip_prefix(&part[..]).map(|after| rest = after).is_some());
    same && rest.is_empty()
}

fn no_length() -> ObjectError {
    ObjectError::Unusable("the server does not tell the lengths of files".to_owned())
}
