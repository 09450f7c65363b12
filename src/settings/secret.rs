//! Secrets come from files and cannot be printed. [`SecretFile`] is the file of a secret, [`Secret`] the secret itself.

use std::{
    env, fmt,
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::OFlags;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    error::{Error, Result},
    fs::owner,
};

/// The largest secret that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Some editors write this before the text. It is never part of a secret.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The password of an existing repository may begin with a byte order mark, so this key accepts one.
const REPOSITORY_PASSWORD: &str = "repository.password_file";
/// Set by systemd for a service with `LoadCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The credential that units hand over in place of a file that systemd does not find, so that the program can name the
/// missing file. No secret is an empty line.
pub(crate) const PLACEHOLDER: &str = "\n";

/// A secret text. It has no `Display`, its `Debug` shows nothing, and its memory is overwritten on drop.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Makes a secret of a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Never put it into a message, an argument or the environment of a process.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The file of a secret, with its configuration key. [`SecretFile::load`] reads the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    key: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Credential(String),
}

impl SecretFile {
    /// A secret in the file `path`; messages name the configuration key `key`.
    pub fn at(key: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { key: key.into(), place: Place::File(path.into()) }
    }

    /// Reads a configuration value: `credential:NAME`, or a path, a relative one being below `folder`.
    /// The error is a text for the configuration's problem list and does not repeat the value.
    pub(crate) fn from_value(key: String, value: &str, folder: &Path) -> Result<Self, String> {
        let place = match value.strip_prefix("credential:") {
            None => Place::File(folder.join(value)),
            Some(name) if name.is_empty() || name.contains('/') || name == "." || name == ".." => {
                return Err(
                    "after \"credential:\" comes the name of a systemd credential, without a /".into()
                );
            }
            Some(name) => Place::Credential(name.to_owned()),
        };
        Ok(Self { key, place })
    }

    /// The full configuration key that names this file, for example `sources.shop.password_file`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its path, unless it is a credential that only systemd knows.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Credential(_) => None,
        }
    }

    /// Whether it is a credential of a systemd unit, and this process is not started by that unit.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let Place::Credential(name) = &self.place else { return false };
        let directory = env::var_os(CREDENTIALS_DIRECTORY).filter(|value| !value.is_empty());
        !directory.is_some_and(|directory| Path::new(&directory).join(name).exists())
    }

    /// The name of the systemd credential that replaces the file in a service: the key, without characters that a
    /// credential's name cannot have. With it, one configuration serves the services, whose user cannot read the files,
    /// and root on the command line.
    pub fn credential(&self) -> String {
        let mut id = String::with_capacity(self.key.len());
        for c in self.key.chars() {
            match c {
                '[' => id.push('.'),
                ']' | '"' => {}
                c if c.is_ascii_alphanumeric() || "._-".contains(c) => id.push(c),
                _ => id.push('_'),
            }
        }
        id
    }

    /// Reads the secret. One trailing newline is dropped. In a service with a credential of this name
    /// ([`Self::credential`]), the credential is read instead of the file.
    ///
    /// # Errors
    /// Exit code 2, naming the key and the file: it cannot be read, other users have access to it (not checked
    /// for systemd credentials), it is not a regular file, is empty, larger than 64 KiB, not UTF-8, or has several lines.
    pub fn load(&self) -> Result<Secret> {
        let directory = env::var_os(CREDENTIALS_DIRECTORY).filter(|value| !value.is_empty());
        self.load_with(directory.as_deref().map(Path::new))
    }

    fn load_with(&self, credentials: Option<&Path>) -> Result<Secret> {
        let path = match (&self.place, credentials) {
            (Place::File(path), Some(directory)) => {
                let handed = directory.join(self.credential());
                if handed.exists() && !is_placeholder(&handed) { handed } else { path.clone() }
            }
            (Place::File(path), None) => path.clone(),
            (Place::Credential(name), Some(directory)) => directory.join(name),
            (Place::Credential(name), None) => {
                let message = format!(
                    "{}: there is no credential {name:?}: ${CREDENTIALS_DIRECTORY} is not set",
                    self.key
                );
                return Err(Error::usage(message).hint(format!(
                    "run it as a systemd service with LoadCredential={name}:FILE, or name a file instead"
                )));
            }
        };
        let of_systemd = credentials.is_some_and(|directory| is_inside(&path, directory));
        // The service's user cannot access the file, so the system's own error would be misleading.
        let missing = !of_systemd
            && matches!(&self.place, Place::File(_))
            && credentials.is_some_and(|directory| is_placeholder(&directory.join(self.credential())));
        let file = self.open(&path, of_systemd, missing)?;
        let bytes = self.read(&path, file)?;
        self.check(&path, bytes)
    }

    fn open(&self, path: &Path, of_systemd: bool, missing: bool) -> Result<File> {
        let unreadable = |error: std::io::Error| {
            let hint = match owner::reading_hint(path, &error) {
                Some(_) if missing => {
                    "systemd did not find it, or it holds an empty line: create it as root with mode 0600, or correct \
                     the path in the configuration"
                        .to_owned()
                }
                Some(hint) => hint,
                None if error.kind() == std::io::ErrorKind::NotFound => {
                    "create the file, or correct the path in the configuration".to_owned()
                }
                None => "check the disk and the file system".to_owned(),
            };
            self.problem(path, "cannot be read").because(&error).hint(hint)
        };
        // Without NONBLOCK, opening a named pipe would wait for a writer.
        let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(self.problem(path, "is a directory").hint("name the file itself"));
        }
        if !metadata.is_file() {
            return Err(self.problem(path, "is not a regular file").hint("put the secret into a file"));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o007 != 0 && !of_systemd {
            let what = format!("is open to every user of this machine (mode {mode:04o})");
            return Err(self.problem(path, &what).hint(format!("chmod 600 {}", shell_word(path))));
        }
        Ok(file)
    }

    fn read(&self, path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>> {
        // The full capacity from the start: a growing buffer would leave copies of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
        let limit = MAX_BYTES as u64 + 1;
        match file.take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.problem(path, "cannot be read").because(&error)),
        }
    }

    fn check(&self, path: &Path, mut bytes: Zeroizing<Vec<u8>>) -> Result<Secret> {
        if bytes.len() > MAX_BYTES {
            return Err(self.problem(path, "is larger than 64 KiB").hint("is this the right file?"));
        }
        for end in [b'\n', b'\r'] {
            if bytes.last() != Some(&end) {
                break;
            }
            bytes.pop();
        }
        let fault = if bytes.is_empty() {
            Some(("is empty", "write the secret into it"))
        } else if bytes.starts_with(BYTE_ORDER_MARK) && self.key != REPOSITORY_PASSWORD {
            Some(("begins with a byte order mark", "save it as UTF-8 without one"))
        } else if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(("has more than one line", "it must hold the secret alone, on one line"))
        } else if bytes.contains(&0) {
            Some(("holds a NUL byte", "it must hold the secret alone, as text"))
        } else {
            None
        };
        if let Some((what, hint)) = fault {
            return Err(self.problem(path, what).hint(hint));
        }
        String::from_utf8(std::mem::take(&mut *bytes)).map(Secret::new).map_err(|error| {
            error.into_bytes().zeroize();
            self.problem(path, "is not UTF-8 text").hint("it must hold the secret alone, as text")
        })
    }

    fn problem(&self, path: &Path, what: &str) -> Error {
        Error::usage(format!("{}: the file {} {what}", self.key, path.display()))
    }
}

/// The place: a path, or `credential:NAME`.
impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => path.display().fmt(f),
            Place::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// The credential from systemd in place of a file that this user may not read. `None` if there is none, or if the file could
/// not be read for another reason.
pub(crate) fn credential_instead(error: &std::io::Error, credential: &str) -> Option<Vec<u8>> {
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return None;
    }
    let directory = env::var_os(CREDENTIALS_DIRECTORY).filter(|value| !value.is_empty())?;
    let path = Path::new(&directory).join(credential);
    if is_placeholder(&path) { None } else { std::fs::read(path).ok() }
}

/// Whether a credential is [`PLACEHOLDER`].
fn is_placeholder(path: &Path) -> bool {
    let is_short = path.metadata().is_ok_and(|metadata| metadata.len() == PLACEHOLDER.len() as u64);
    is_short && std::fs::read(path).is_ok_and(|bytes| bytes == PLACEHOLDER.as_bytes())
}

/// Whether `path` lies below `directory` by its spelling; a `..` in it could lead out again.
fn is_inside(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory) && !path.components().any(|part| part == Component::ParentDir)
}

/// A path as one word for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+@%:,".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "secret_tests.rs"]
mod tests;
