//! Reading a snapshot: directories, their properties, and files.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read},
};

use reqwest::Method;

use super::{
    Entry, FileProperties, FileService, Page, Share, ShareSnapshot, SmbProperties, failed, list,
    snapshot::SNAPSHOT,
};
use crate::{
    azure::{
        failure::Failure,
        http::{Answer, Incoming},
        markers::Markers,
        request::Request,
        retry::Breaks,
        witness::Witness,
    },
    error::Result,
    stream::cancel::Cancel,
};

/// The requested properties of each entry.
const INCLUDE: &str = "Timestamps,ETag,Attributes,PermissionKey";

/// The progress of the listing of a directory.
#[derive(Default)]
pub struct Progress(Markers);

impl Progress {
    /// Whether the last page has been read.
    pub fn is_over(&self) -> bool {
        self.0.next().is_none()
    }
}

impl FileService {
    /// The live shares with their snapshots, those of other programs too. Shares that were deleted are not among them.
    ///
    /// # Errors
    /// The service refuses or sends an invalid answer.
    pub fn shares(&self, cancel: &Cancel) -> Result<Vec<Share>> {
        let what = || format!("cannot list the file shares of the storage account {:?}", self.account());
        let mut items = Vec::new();
        self.pages(cancel, &mut items, &|marker| {
            let request = Request::new(Method::GET, &self.endpoint, &[])?.query("comp", "list");
            let request =
                self.prepare(request).query("include", "snapshots,metadata").query("marker", marker);
            self.exchange(&request, cancel, &mut |answer| list::shares(BufReader::new(answer.into_body())))
        })
        .map_err(|failure| failed(failure, what()))?;
        Ok(list::join(items))
    }

    /// All entries of a directory of a snapshot, one level; an empty path is the root.
    ///
    /// # Errors
    /// It does not exist, or the service refuses or sends an invalid answer.
    pub fn list(&self, snapshot: &ShareSnapshot, directory: &str, cancel: &Cancel) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.pages(cancel, &mut entries, &|marker| self.page(snapshot, directory, marker, cancel))
            .map_err(|failure| failure.about(cannot_list(snapshot, directory)))?;
        Ok(entries)
    }

    /// The next page of [`FileService::list`], of at most 5,000 entries; none once the list is over. If it cannot be had,
    /// `progress` stays where it is.
    ///
    /// # Errors
    /// Like [`FileService::list`].
    pub fn list_page(
        &self,
        snapshot: &ShareSnapshot,
        directory: &str,
        progress: &mut Progress,
        cancel: &Cancel,
    ) -> Result<Vec<Entry>, Failure> {
        let mut list = || -> Result<Vec<Entry>, Failure> {
            let Some(marker) = progress.0.next() else { return Ok(Vec::new()) };
            let page = self.page(snapshot, directory, marker, cancel)?;
            progress.0.turn("the list", page.items.len(), page.next)?;
            Ok(page.items)
        };
        list().map_err(|failure| failure.about(cannot_list(snapshot, directory)))
    }

    /// Metadata and properties of a directory of a snapshot; an empty path is the root.
    ///
    /// # Errors
    /// It does not exist, or the service refuses or sends an invalid answer.
    pub fn directory(
        &self,
        snapshot: &ShareSnapshot,
        path: &str,
        cancel: &Cancel,
    ) -> Result<(BTreeMap<String, String>, SmbProperties), Failure> {
        let ask = || {
            let request = self.within(snapshot, Method::HEAD, path)?.query("restype", "directory");
            let answer = self.send(request, cancel)?;
            let smb = SmbProperties::read(|name| answer.header(name));
            Ok((metadata(&answer), smb.map_err(|error| Failure::from(error).of_object())?))
        };
        ask().map_err(|failure: Failure| {
            failure.about(format!("cannot read the directory {path:?} of the share {:?}", snapshot.share()))
        })
    }

    /// Content headers and metadata of a file of a snapshot.
    ///
    /// # Errors
    /// It is not there, or the service refuses.
    pub fn properties(
        &self,
        snapshot: &ShareSnapshot,
        path: &str,
        cancel: &Cancel,
    ) -> Result<FileProperties, Failure> {
        let answer = self.send(self.within(snapshot, Method::HEAD, path)?, cancel)?;
        Ok(FileProperties::read(|name| answer.header(name), metadata(&answer)))
    }

    /// Begins to read a file of a snapshot. `bytes` is its length as the list has it.
    ///
    /// # Errors
    /// It is not there or has another length, or the service refuses.
    pub fn download(
        &self,
        snapshot: &ShareSnapshot,
        path: &str,
        bytes: u64,
        cancel: &Cancel,
    ) -> Result<(FileProperties, Content), Failure> {
        let what = format!("cannot read the file {path:?} of the share {:?}", snapshot.share());
        let begin = || {
            let request = self.within(snapshot, Method::GET, path)?;
            let answer = self.send(request.clone(), cancel)?;
            let length = answer.header("content-length").unwrap_or_default();
            if !length.is_empty() && length != bytes.to_string() {
                return Err(Failure::of_file(format!("it has {length} bytes, but the list said {bytes}")));
            }
            Ok((request, answer))
        };
        let (request, answer) = begin().map_err(|failure| failure.about(what.as_str()))?;
        let properties = FileProperties::read(|name| answer.header(name), metadata(&answer));
        let content = Content {
            service: self.clone(),
            etag: answer.header("etag").unwrap_or_default().to_owned(),
            request,
            body: Some(answer.into_body()),
            what,
            bytes,
            at: 0,
            breaks: Breaks::default(),
            witness: Witness::default(),
            cancel: cancel.clone(),
        };
        Ok((properties, content))
    }

    fn page(
        &self,
        snapshot: &ShareSnapshot,
        directory: &str,
        marker: &str,
        cancel: &Cancel,
    ) -> Result<Page<Entry>, Failure> {
        let request = self.within(snapshot, Method::GET, directory)?.query("restype", "directory");
        let request = request.query("comp", "list").query("include", INCLUDE).query("marker", marker);
        let request = request.header("x-ms-file-extended-info", "true");
        self.exchange(&request, cancel, &mut |answer| list::entries(BufReader::new(answer.into_body())))
    }

    /// A request for something in a snapshot.
    fn within(&self, snapshot: &ShareSnapshot, method: Method, path: &str) -> Result<Request, Failure> {
        let request = self.request(method, snapshot.share(), path)?;
        Ok(request.query(SNAPSHOT, snapshot.id().as_str()))
    }

    /// Gathers the items of all pages; `ask` is given the marker, empty for the first page.
    fn pages<T>(
        &self,
        cancel: &Cancel,
        items: &mut Vec<T>,
        ask: &dyn Fn(&str) -> Result<Page<T>, Failure>,
    ) -> Result<(), Failure> {
        let mut markers = Markers::default();
        while let Some(marker) = markers.next() {
            cancel.check()?;
            let page = ask(marker)?;
            markers.turn("the list", page.items.len(), page.next)?;
            items.extend(page.items);
        }
        Ok(())
    }
}

fn cannot_list(snapshot: &ShareSnapshot, directory: &str) -> String {
    format!("cannot list the directory {directory:?} of the share {:?}", snapshot.share())
}

fn metadata(answer: &Answer) -> BTreeMap<String, String> {
    let pairs = answer.headers_after("x-ms-meta-");
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The content of a file, as it arrives. When the connection breaks it goes on from where it was. The end is reported
/// only after exactly as many bytes as the list has. [`Error::from_io`](crate::error::Error::from_io) takes out errors
/// whole.
pub struct Content {
    service: FileService,
    request: Request,
    etag: String,
    /// None between a connection that broke and the next one.
    body: Option<Incoming>,
    what: String,
    bytes: u64,
    at: u64,
    breaks: Breaks,
    witness: Witness,
    cancel: Cancel,
}

impl Content {
    /// A handle that provides the cause of a failure later.
    pub fn witness(&self) -> Witness {
        self.witness.clone()
    }

    fn next(&mut self, target: &mut [u8]) -> Result<usize, Failure> {
        loop {
            self.cancel.check()?;
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let again = self.go_on()?;
                    self.body.insert(again)
                }
            };
            match body.read(target) {
                Ok(0) if !target.is_empty() && self.at != self.bytes => {
                    let text = format!("it ended after {} bytes of {}", self.at, self.bytes);
                    return Err(Failure::of_file(text));
                }
                Ok(count) => {
                    self.at += count as u64;
                    if self.at > self.bytes {
                        return Err(Failure::of_file(format!("it is longer than {} bytes", self.bytes)));
                    }
                    self.breaks.came(count);
                    return Ok(count);
                }
                Err(error) => self.stumble(Failure::from_io("reading a file", error))?,
            }
        }
    }

    /// Records a broken connection, and waits; an error if no byte has arrived for too long.
    fn stumble(&mut self, failure: Failure) -> Result<(), Failure> {
        self.body = None;
        match self.breaks.pause(self.service.http.policy(), &failure) {
            None => Err(failure),
            Some(pause) if pause.is_zero() => Ok(()),
            Some(pause) => self.service.http.sleep(pause, &self.cancel),
        }
    }

    /// Requests the rest.
    fn go_on(&self) -> Result<Incoming, Failure> {
        let request = self.request.clone().header("x-ms-range", &format!("bytes={}-", self.at));
        let answer = self.service.send(request, &self.cancel)?;
        let range = answer.header("content-range").unwrap_or_default();
        let expected = format!("bytes {}-{}/{}", self.at, self.bytes - 1, self.bytes);
        if answer.status() != 206 || range != expected {
            let text = format!("instead of {expected:?} the service sent {range:?}");
            return Err(Failure::unexpected(answer.action(), text).of_object());
        }
        if answer.header("etag").unwrap_or_default() != self.etag {
            let text = "it changed while it was read, although it is in a snapshot";
            return Err(Failure::changed(answer.action(), text));
        }
        Ok(answer.into_body())
    }
}

impl Read for Content {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.next(target).map_err(|failure| self.witness.testify(failure.about(self.what.as_str())))
    }
}
