//! Directories of an SFTP server.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use openssh_sftp_client::{Error as Client, error::SftpErrorKind, fs::Fs};

use super::{
    super::objects::{Listed, Missing, ObjectError, Result},
    transfer::no_length,
};

/// Directories that are listed at the same time. A server may allow fewer open ones: those that it refuses are listed again,
/// fewer at a time.
const LISTINGS: [usize; 3] = [64, 8, 1];
/// Directories that are created at the same time.
const CREATED: usize = 64;

/// The files in these directories below `root`.
pub(super) async fn list(
    fs: &Fs,
    root: &Path,
    directories: Vec<String>,
    missing: Missing,
) -> Result<Vec<Listed>> {
    let (mut files, mut left, mut refused) = (Vec::new(), directories, None);
    for width in LISTINGS {
        let listings = left.into_iter().map(|directory| async move {
            let listed = list_directory(fs.clone(), root.join(&directory), missing).await;
            (directory, listed)
        });
        let listings: Vec<_> = stream::iter(listings).buffer_unordered(width).collect().await;
        (left, refused) = (Vec::new(), None);
        for (directory, listed) in listings {
            match listed {
                Ok(listed) => files.extend(listed),
                Err(error @ ObjectError::Answered(_)) => {
                    left.push(directory);
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    refused.map_or(Ok(files), Err)
}

async fn list_directory(mut fs: Fs, path: PathBuf, missing: Missing) -> Result<Vec<Listed>> {
    let directory = match fs.open_dir(&path).await {
        Err(Client::SftpError(SftpErrorKind::NoSuchFile, _)) if missing == Missing::Empty => {
            return Ok(Vec::new());
        }
        other => other?,
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
            None => match fs.metadata(path.join(name)).await {
                // It was removed in the meantime.
                Err(Client::SftpError(SftpErrorKind::NoSuchFile, _)) => continue,
                found => found?.len().ok_or_else(no_length)?,
            },
        };
        files.push(Listed { name: name.to_owned(), bytes });
    }
    Ok(files)
}

/// Creates `root` with its parents, and these directories in it.
pub(super) async fn create_all(fs: &Fs, root: &Path, directories: Vec<String>) -> Result<()> {
    let ancestors: Vec<_> = root.ancestors().filter(|directory| directory.parent().is_some()).collect();
    for directory in ancestors.into_iter().rev() {
        create(fs.clone(), directory.to_owned()).await?;
    }
    // Those inside others are created after them.
    let (inner, outer): (Vec<_>, Vec<_>) =
        directories.into_iter().partition(|directory| directory.contains('/'));
    for group in [outer, inner] {
        let creations = group.into_iter().map(|directory| create(fs.clone(), root.join(directory)));
        let created: Vec<_> = stream::iter(creations).buffer_unordered(CREATED).collect().await;
        created.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

/// Creates a directory unless it exists. A server may answer with an error that does not say which it is.
pub(super) async fn create(mut fs: Fs, path: PathBuf) -> Result<()> {
    let Err(error) = fs.create_dir(&path).await else { return Ok(()) };
    match fs.metadata(&path).await {
        Ok(found) if found.file_type().is_none_or(|tpe| tpe.is_dir()) => Ok(()),
        _ => Err(error.into()),
    }
}
