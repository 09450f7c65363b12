//! Writing to a live share, for restores: shares, directories, files and permissions.

use std::{collections::BTreeMap, io::Read};

use reqwest::Method;
use serde_json::{Value, json};

use super::{FileProperties, FileService, SmbProperties, failed};
use crate::{
    azure::{failure::Failure, request::Request},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// The maximum size of one Put Range, in bytes.
const RANGE: u64 = 4 * 1024 * 1024;

/// The result of writing a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It was written.
    Done,
    /// It already existed and was not changed.
    Exists,
}

impl FileService {
    /// Creates a share with a quota in GiB. `false` if there is one of this name.
    ///
    /// # Errors
    /// The service refuses, for example while a share of this name is being deleted.
    pub fn create_share(
        &self,
        name: &str,
        quota: u64,
        metadata: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<bool> {
        let create = || {
            let request = self.request(Method::PUT, name, "")?.query("restype", "share");
            let request = request.header("x-ms-share-quota", &quota.max(1).to_string());
            self.send(with_metadata(request, metadata), cancel)
        };
        let what = || format!("cannot create the share {name:?}");
        match create() {
            Ok(_) => Ok(true),
            Err(failure) if failure.is("ShareAlreadyExists") => Ok(false),
            Err(failure) => Err(failed(failure, what())),
        }
    }

    /// Creates a directory, whose parent must be there. With `replace` one that is there gets the metadata and
    /// properties. The root (an empty path) is always there. Writing into a directory changes its times: to restore
    /// them call this once more, with `replace`, when all below it is written.
    ///
    /// # Errors
    /// The service refuses, or a file is in its place. [`Failure::scope`] says whether it is about this directory alone.
    pub fn create_directory(
        &self,
        share: &str,
        path: &str,
        metadata: &BTreeMap<String, String>,
        smb: &SmbProperties,
        replace: bool,
        cancel: &Cancel,
    ) -> Result<Uploaded, Failure> {
        let directory = || -> Result<Request, Failure> {
            Ok(self.request(Method::PUT, share, path)?.query("restype", "directory"))
        };
        let create = || {
            let request = smb.put(with_metadata(directory()?, metadata), true);
            self.send(request, cancel).map(drop)
        };
        let made = if path.is_empty() { None } else { Some(create()) };
        match made {
            Some(Ok(())) => return Ok(Uploaded::Done),
            Some(Err(failure)) if !failure.is("ResourceAlreadyExists") => {
                return Err(failure);
            }
            Some(Err(_)) | None if !replace => return Ok(Uploaded::Exists),
            Some(Err(_)) | None => {}
        }
        self.send(with_metadata(directory()?.query("comp", "metadata"), metadata), cancel)?;
        self.send(smb.put(directory()?.query("comp", "properties"), true), cancel)?;
        Ok(Uploaded::Done)
    }

    /// Writes a file of `bytes` bytes, whose directory must be there. Parts that are all zero are not sent. Attributes
    /// and times come last, because a file that is read-only takes no content and each write changes the times.
    ///
    /// # Errors
    /// The service refuses, a directory is in its place, or `content` fails or has another length. A file that was
    /// begun then stays behind incomplete. [`Failure::scope`] says whether it is about this file alone.
    // A file has many parts, which each caller has separately.
    #[allow(clippy::too_many_arguments)]
    pub fn upload(
        &self,
        share: &str,
        path: &str,
        bytes: u64,
        properties: &FileProperties,
        smb: &SmbProperties,
        content: &mut dyn Read,
        replace: bool,
        cancel: &Cancel,
    ) -> Result<Uploaded, Failure> {
        if !replace && self.exists(share, path, cancel)? {
            return Ok(Uploaded::Exists);
        }
        self.create_file(share, path, bytes, properties, smb, cancel)?;
        self.put_ranges(share, path, bytes, content, cancel)?;
        let request = self.request(Method::PUT, share, path)?.query("comp", "properties");
        self.send(smb.put(properties.put(request), false), cancel)?;
        Ok(Uploaded::Done)
    }

    /// Stores a security descriptor (SDDL) in a share and returns its key there, for [`SmbProperties::permission_key`].
    ///
    /// # Errors
    /// The service refuses it.
    pub fn store_permission(&self, share: &str, descriptor: &str, cancel: &Cancel) -> Result<String> {
        let what = || format!("cannot store a permission in the share {share:?}");
        let store = || {
            let request = self.request(Method::PUT, share, "")?.query("restype", "share");
            let request = request.query("comp", "filepermission").header("content-type", "application/json");
            self.send(request.body(json!({ "permission": descriptor }).to_string()), cancel)
        };
        let answer = store().map_err(|failure| failed(failure, what()))?;
        let key = answer.header("x-ms-file-permission-key").filter(|key| !key.is_empty());
        key.map(str::to_owned).ok_or_else(|| Error::failed(format!("{}: the answer has no key", what())))
    }

    /// The security descriptor (SDDL) that a key stands for. The live share knows it, also for entries of snapshots.
    ///
    /// # Errors
    /// The service refuses or does not know the key.
    pub fn permission(&self, share: &str, key: &str, cancel: &Cancel) -> Result<String> {
        let what = || format!("cannot read the permission {key:?} of the share {share:?}");
        let ask = || {
            let request = self.request(Method::GET, share, "")?.query("restype", "share");
            let request = request.query("comp", "filepermission").header("x-ms-file-permission-key", key);
            self.exchange(&request, cancel, &mut |answer| answer.json::<Value>())
        };
        let body = ask().map_err(|failure| failed(failure, what()))?;
        let text = body.get("permission").and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| Error::failed(format!("{}: the answer has none", what())))
    }

    fn exists(&self, share: &str, path: &str, cancel: &Cancel) -> Result<bool, Failure> {
        match self.send(self.request(Method::HEAD, share, path)?, cancel) {
            Ok(_) => Ok(true),
            Err(failure) if failure.status() == Some(404) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Makes the file with its length, all zero, or recreates it. It has its permission from the start, so that
    /// it is never readable without permission.
    fn create_file(
        &self,
        share: &str,
        path: &str,
        bytes: u64,
        properties: &FileProperties,
        smb: &SmbProperties,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let plain = SmbProperties { permission_key: smb.permission_key.clone(), ..SmbProperties::default() };
        let create = || {
            let request = self.request(Method::PUT, share, path)?;
            let request =
                request.header("x-ms-type", "file").header("x-ms-content-length", &bytes.to_string());
            let request = with_metadata(plain.put(properties.put(request), false), &properties.metadata);
            self.send(request, cancel).map(drop)
        };
        match create() {
            Err(failure) if failure.is("ReadOnlyAttribute") => {
                let request = self.request(Method::PUT, share, path)?.query("comp", "properties");
                self.send(SmbProperties::default().put(request, false), cancel)?;
                create()
            }
            made => made,
        }
    }

    fn put_ranges(
        &self,
        share: &str,
        path: &str,
        bytes: u64,
        mut content: &mut dyn Read,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let unreadable = |error| Failure::from(Error::from_io("cannot read what is to be written", error));
        let mut begin = 0;
        while begin < bytes {
            cancel.check()?;
            let length = RANGE.min(bytes - begin);
            let mut part = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            (&mut content).take(length).read_to_end(&mut part).map_err(unreadable)?;
            if part.len() as u64 != length {
                let have = begin + part.len() as u64;
                return Err(Failure::local(format!("the content ends after {have} bytes of {bytes}")));
            }
            let end = begin + length - 1;
            if part.iter().any(|byte| *byte != 0) {
                let request = self.request(Method::PUT, share, path)?.query("comp", "range");
                let request = request.header("x-ms-write", "update");
                let request = request.header("x-ms-range", &format!("bytes={begin}-{end}"));
                self.send(request.body(part), cancel)?;
            }
            begin += length;
        }
        let more = content.read(&mut [0]).map_err(unreadable)?;
        if more == 0 {
            Ok(())
        } else {
            Err(Failure::local(format!("the content is longer than {bytes} bytes")))
        }
    }
}

fn with_metadata(request: Request, metadata: &BTreeMap<String, String>) -> Request {
    request.metadata(metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
