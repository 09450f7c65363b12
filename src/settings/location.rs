//! The location of the repository: a path or a URL, shown without its credentials.

use std::{
    fmt,
    ops::Range,
    path::{Component, Path, PathBuf},
};

use super::{
    reader::unexpanded,
    secret::{Secret, SecretFile},
};
use crate::error::{Error, Result};

const MASK: &str = "***";
const MOUNTED: &str = "a network share is mounted first: `location` is the path of a directory on it, and `mount` is its mount \
                       point";

/// URL schemes of the supported storages besides local directories; further ones follow `opendal:`.
const KINDS: [&str; 10] =
    ["rest", "sftp", "s3", "azblob", "b2", "gcs", "webdav", "swift", "rclone", "opendal"];
const UNKNOWN: &str = "unsupported kind of storage before the colon; supported are rest, sftp, s3, azblob, b2, gcs, webdav, \
                       swift, rclone and opendal, such as rest:https://host/repo, or opendal:ftp with [repository.options]; a directory \
                       whose name has a colon is written as ./name, and a network share is mounted first";

/// The location of the repository as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryLocation {
    /// Given as `location`; it holds no password. A path is absolute.
    Given(String),
    /// Given as `location_file`, whose content may be a URL with a password.
    File {
        /// The file that holds the location.
        file: SecretFile,
        /// The directory that a relative path in it starts from.
        folder: PathBuf,
    },
}

impl RepositoryLocation {
    /// The location itself, read from its file if need be.
    ///
    /// # Errors
    /// Exit code 2 if the file cannot be used, see [`SecretFile::load`], or does not hold a location.
    pub fn load(&self) -> Result<Location> {
        match self {
            Self::Given(text) => Ok(Location::new(text)),
            Self::File { file, folder } => {
                let secret = file.load()?;
                let text = resolve(secret.expose(), folder)
                    .map_err(|fault| Error::usage(format!("{}: the file {file}: {fault}", file.key())))?;
                Ok(Location::new(Secret::new(text).expose()))
            }
        }
    }
}

/// For messages: the location without credentials, or the name of the file that holds it.
impl fmt::Display for RepositoryLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(text) => f.write_str(&mask(text)),
            Self::File { file, .. } => write!(f, "the location in {file}"),
        }
    }
}

/// A location that is ready to be opened. `Display` and `Debug` mask the credentials in it.
pub struct Location(Secret);

impl Location {
    fn new(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }

    /// The location with its credentials, for the storage backend only.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The directory of the repository, if it is in a local filesystem.
    pub fn path(&self) -> Option<&Path> {
        path_in(self.expose())
    }

    /// The location in a normalized form, for comparison: without credentials, without trailing slashes, and a path without
    /// scheme, `.` and `..`. Links are not followed, because that would access the storage.
    pub fn place(&self) -> String {
        if let Some(path) = self.path() {
            return path.components().collect::<PathBuf>().display().to_string();
        }
        let text = self.expose();
        let (user, rest) = match userinfo(text) {
            // A relative path of SFTP starts from the user's home.
            Some(range) if text.starts_with("sftp:") => {
                let user = text[range.clone()].split(':').next().unwrap_or_default();
                (format!("{}{user}", &text[..range.start]), &text[range.end..])
            }
            Some(range) => (text[..range.start].to_owned(), text[range.end..].trim_start_matches('@')),
            None => (String::new(), text),
        };
        // Signatures are in the query.
        let plain = user + rest.split('?').next().unwrap_or(rest);
        plain.trim_end_matches('/').to_owned()
    }
}

/// The normalized form of a location given on the command line, see [`Location::place`]. A relative path starts from the
/// working directory.
///
/// # Errors
/// Exit code 2 if it is not a location.
pub fn place_of(text: &str) -> Result<String> {
    let folder = std::env::current_dir()
        .map_err(|error| Error::failed("cannot find out the working directory").because(&error))?;
    let text = resolve(text, &folder).map_err(|fault| Error::usage(format!("the location: {fault}")))?;
    Ok(Location::new(&text).place())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(self.expose()))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// A location as it is used: a path made absolute from `folder`, a URL unchanged.
/// The error says what is wrong without repeating the location.
pub(crate) fn resolve(text: &str, folder: &Path) -> Result<String, String> {
    if let Some(fault) = unexpanded(text) {
        return Err(fault.into());
    }
    let path = match scheme(text) {
        Some(("http" | "https", _)) => {
            return Err("a REST server is written as rest:https://…; https: alone is not a storage".into());
        }
        Some(("ssh" | "scp", _)) => {
            return Err("a server with SSH is written as sftp:user@host:/path".into());
        }
        Some(("file", _)) => {
            return Err("a directory is written as its path alone, such as /mnt/backup/repo".into());
        }
        Some(("smb" | "cifs" | "nfs", _)) => return Err(MOUNTED.into()),
        Some(("s3" | "b2" | "gcs" | "azblob" | "webdav", rest)) if rest.starts_with("//") => {
            return Err("only the path below the bucket follows the colon, such as s3:backup; bucket and endpoint stand in \
                        [repository.options]"
                .into());
        }
        Some((_, "")) => return Err("nothing follows the colon: add the path or the address".into()),
        Some(("local", path)) => path,
        Some((kind, _)) if KINDS.contains(&kind) => return Ok(text.to_owned()),
        Some((kind, _)) if kind.len() == 1 => {
            return Err(
                "this is not a path of this system: a directory is written as /mnt/backup/repo".into()
            );
        }
        Some(_) => return Err(UNKNOWN.into()),
        None if text.starts_with("//") => return Err(MOUNTED.into()),
        // As ssh and scp write it; `./user@host:/path` is a directory of that name.
        None if text.split_once(":/").is_some_and(|(host, _)| host.contains('@') && !host.contains('/')) => {
            return Err("a server with SSH is written as sftp:user@host:/path".into());
        }
        None => text,
    };
    let path = folder.join(path).display().to_string();
    // The backend would read the part before a colon as a URL scheme.
    Ok(if path.contains(':') { format!("local:{path}") } else { path })
}

/// The path of a resolved location, if it is a path.
pub(crate) fn path_in(text: &str) -> Option<&Path> {
    match scheme(text) {
        None => Some(Path::new(text)),
        Some(("local", path)) => Some(Path::new(path)),
        Some(_) => None,
    }
}

/// A path without `.` and `..`, resolved without access to the file system.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Whether a URL holds a password, which must not be in the configuration.
pub(crate) fn has_password(text: &str) -> bool {
    userinfo(text).is_some_and(|range| text[range].split_once(':').is_some_and(|(_, rest)| !rest.is_empty()))
}

fn mask(text: &str) -> String {
    let Some(range) = userinfo(text) else { return text.to_owned() };
    // In `sftp:user@host:/path` the user is not a secret, and helps the operator.
    if !text[..range.start].ends_with("//") && !has_password(text) {
        return text.to_owned();
    }
    format!("{}{MASK}{}", &text[..range.start], &text[range.end..])
}

/// Splits `scheme:rest`; a path has no scheme, even with a colon further on.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once(':')?;
    let valid = kind.starts_with(|c: char| c.is_ascii_alphabetic())
        && kind.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    valid.then_some((kind, rest))
}

/// The range of user and password in a URL, without the `@`.
fn userinfo(text: &str) -> Option<Range<usize>> {
    let (kind, rest) = scheme(text)?;
    let start = match rest.find("//") {
        Some(slashes) if slashes == 0 || rest[..slashes].ends_with(':') => kind.len() + 1 + slashes + 2,
        _ if kind == "sftp" => kind.len() + 1,
        _ => return None,
    };
    let rest = &text[start..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let end = authority.rfind('@').or_else(|| {
        // A password with a slash in it ends the authority too early; a port would be a number.
        let (_, after) = authority.split_once(':')?;
        let port = after.chars().all(|c| c.is_ascii_digit()) || authority.starts_with('[');
        if port || kind == "sftp" && !text[..start].ends_with("//") { None } else { rest.rfind('@') }
    })?;
    Some(start..start + end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn passwords_in_urls_are_seen_and_masked() {
        for (text, shown) in [
            ("rest:https://user:hunter2@host/repo", "rest:https://***@host/repo"),
            ("rest:https://user:hun@ter2@host:8000/", "rest:https://***@host:8000/"),
            ("rest:https://user:hunt/er2@host/repo", "rest:https://***@host/repo"),
            ("rest:https://user:h?nter2@host/repo", "rest:https://***@host/repo"),
            ("sftp://user:hunter2@host/repo", "sftp://***@host/repo"),
            ("sftp:user:hunter2@host:/repo", "sftp:***@host:/repo"),
            ("s3:https://id:hunter2@s3.example.com/bucket", "s3:https://***@s3.example.com/bucket"),
            ("rest:https://:hunter2@host/", "rest:https://***@host/"),
        ] {
            assert!(has_password(text), "{text}");
            assert_eq!(Location::new(text).to_string(), shown);
            assert_eq!(format!("{:?}", Location::new(text)), format!("Location({shown})"));
            assert_eq!(Location::new(text).expose(), text);
        }
    }

    #[test]
    fn a_url_without_password_is_none_and_only_a_user_before_a_host_is_masked() {
        for (text, shown) in [
            ("rest:https://host:8000/re@po", "rest:https://host:8000/re@po"),
            ("rest:https://token@host/repo", "rest:https://***@host/repo"),
            ("rest:https://[::1]:8000/re@po", "rest:https://[::1]:8000/re@po"),
            ("sftp:user@host:/repo", "sftp:user@host:/repo"),
            ("sftp:host:/re@po", "sftp:host:/re@po"),
            ("rclone:remote:pa@th", "rclone:remote:pa@th"),
            ("/mnt/a://b:c@d", "/mnt/a://b:c@d"),
            ("s3:https://s3.example.com/bucket", "s3:https://s3.example.com/bucket"),
        ] {
            assert!(!has_password(text), "{text}");
            assert_eq!(Location::new(text).to_string(), shown);
        }
    }

    #[test]
    fn a_place_has_one_name_however_it_is_written() {
        for (text, place) in [
            ("/mnt/backup/repo", "/mnt/backup/repo"),
            ("/mnt//backup/./repo/", "/mnt/backup/repo"),
            ("local:/mnt/backup/repo/", "/mnt/backup/repo"),
            ("/", "/"),
            ("rest:https://host:8000/repo/", "rest:https://host:8000/repo"),
            ("rest:https://user:hunter2@host:8000/repo", "rest:https://host:8000/repo"),
            ("rest:https://token@host:8000/repo", "rest:https://host:8000/repo"),
            ("rest:https://user:h?nter2@host/repo", "rest:https://host/repo"),
            ("sftp:user@host:/repo/", "sftp:user@host:/repo"),
            ("sftp://user:hunter2@host/repo", "sftp://user@host/repo"),
            ("azblob:https://host/container?sig=hunter2", "azblob:https://host/container"),
            ("opendal:s3", "opendal:s3"),
        ] {
            assert_eq!(Location::new(text).place(), place, "{text}");
        }
    }

    #[test]
    fn paths_become_absolute_and_urls_stay() {
        let folder = Path::new("/etc/tik");
        for (text, resolved, path) in [
            ("/mnt/repo", "/mnt/repo", Some("/mnt/repo")),
            ("repo", "/etc/tik/repo", Some("/etc/tik/repo")),
            ("local:/mnt/repo", "/mnt/repo", Some("/mnt/repo")),
            ("/mnt/a:b", "local:/mnt/a:b", Some("/mnt/a:b")),
            ("./a:b", "local:/etc/tik/./a:b", Some("/etc/tik/./a:b")),
            ("rest:https://host/repo", "rest:https://host/repo", None),
            ("opendal:s3", "opendal:s3", None),
        ] {
            let location = Location::new(&resolve(text, folder).unwrap());
            assert_eq!(location.expose(), resolved);
            assert_eq!(location.path(), path.map(Path::new));
        }
        assert!(resolve("https://host/repo", folder).unwrap_err().contains("rest:https://"));
        for (text, hint) in [
            ("~/repo", "only shells expand ~"),
            ("$HOME/repo", "variables"),
            ("ssh://me@host/repo", "sftp:user@host:/path"),
            ("me@host:/repo", "sftp:user@host:/path"),
            ("//host/share", "mounted first"),
            ("smb://host/share", "mounted first"),
            ("s3://bucket/repo", "[repository.options]"),
            ("file:///mnt/repo", "its path alone"),
            ("ftp://host/repo", "opendal:ftp"),
            ("nas:/volume/repo", "mounted first"),
            ("azure:container:/", "azblob"),
            (r"C:\backup", "not a path of this system"),
        ] {
            let fault = resolve(text, folder).unwrap_err();
            assert!(fault.contains(hint), "{text}: {fault}");
        }
        assert!(resolve("rest:", folder).unwrap_err().contains("nothing follows the colon"));
    }

    #[test]
    fn a_location_file_may_hold_a_password_that_is_never_shown() {
        use std::os::unix::fs::PermissionsExt;
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("location");
        fs::write(&path, "rest:https://user:hunter2@host/repo\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = SecretFile::at("repository.location_file", &path);
        let location = RepositoryLocation::File { file, folder: room.path().into() };
        assert_eq!(location.to_string(), format!("the location in {}", path.display()));
        let loaded = location.load().unwrap();
        assert_eq!(loaded.expose(), "rest:https://user:hunter2@host/repo");
        assert_eq!(loaded.to_string(), "rest:https://***@host/repo");
        fs::write(&path, "https://user:hunter2@host/repo").unwrap();
        let error = location.load().unwrap_err().to_string();
        assert!(error.starts_with("repository.location_file: the file ") && error.contains("rest:https://"));
        assert!(!error.contains("hunter2"), "{error}");
    }
}
