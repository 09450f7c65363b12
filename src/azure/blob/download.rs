//! Reading a blob: exactly the version that was listed, over as many connections as it takes.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use reqwest::Method;

use super::{Blob, BlobService};
use crate::{
    azure::{
        failure::Failure,
        http::{Answer, Incoming},
    },
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// How often reading goes on after a break without a single byte in between.
const BREAKS: u32 = 6;

/// What came of the wish to read a blob.
pub enum Download {
    /// Its content.
    Body(Box<Body>),
    /// It is another version than the one listed, or perhaps no more: list it again.
    Changed,
    /// It is no more.
    Gone,
    /// Its content lies in the archive and cannot be read.
    Archived,
}

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Changed = 1,
    Gone = 2,
}

impl Lost {
    fn of(failure: &Failure) -> Option<Self> {
        match failure.status() {
            Some(412) => Some(Self::Changed),
            Some(404) => Some(Self::Gone),
            _ => None,
        }
    }

    fn kind(self) -> io::ErrorKind {
        match self {
            Self::Changed => io::ErrorKind::StaleNetworkFileHandle,
            Self::Gone => io::ErrorKind::NotFound,
        }
    }
}

/// A blob's content. It ends after exactly the listed number of bytes, or with an error that [`Error::from_io`]
/// takes out whole.
pub struct Body {
    service: BlobService,
    names: [String; 2],
    etag: String,
    offset: u64,
    total: u64,
    incoming: Option<Incoming>,
    breaks: u32,
    witness: Witness,
    cancel: Cancel,
}

/// Tells, after a [`Body`] failed in other hands, whether the blob was changed or removed while it was read.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<AtomicU8>);

impl Witness {
    /// Whether it was changed.
    pub fn is_changed(&self) -> bool {
        self.0.load(Ordering::Acquire) == Lost::Changed as u8
    }

    /// Whether it was removed.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Acquire) == Lost::Gone as u8
    }
}

/// Whether reading a [`Body`] failed because the blob was changed meanwhile.
pub fn is_changed(error: &io::Error) -> bool {
    error.kind() == Lost::Changed.kind()
}

/// Whether reading a [`Body`] failed because the blob was removed meanwhile.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == Lost::Gone.kind()
}

impl BlobService {
    /// Begins to read the version of a blob that was listed.
    ///
    /// # Errors
    /// The service refuses or does not answer, or its name cannot be part of a web address (`.` and `..`).
    pub fn download(&self, container: &str, blob: &Blob, cancel: &Cancel) -> Result<Download> {
        if blob.is_archived() {
            return Ok(Download::Archived);
        }
        let mut body = Body {
            service: self.clone(),
            names: [container.to_owned(), blob.name.clone()],
            etag: format!("\"{}\"", blob.etag.trim_matches('"')),
            offset: 0,
            total: blob.bytes,
            incoming: None,
            breaks: 0,
            witness: Witness::default(),
            cancel: cancel.clone(),
        };
        match body.connect() {
            Ok(()) => Ok(Download::Body(Box::new(body))),
            Err(failure) => match Lost::of(&failure) {
                Some(Lost::Changed) => Ok(Download::Changed),
                Some(Lost::Gone) => Ok(Download::Gone),
                None if failure.is("BlobArchived") || failure.is("BlobBeingRehydrated") => {
                    Ok(Download::Archived)
                }
                None => Err(failure.into()),
            },
        }
    }
}

impl Body {
    /// What tells later whether the blob was lost, wherever this goes.
    pub fn witness(&self) -> Witness {
        self.witness.clone()
    }

    /// Asks for what is still to come.
    fn connect(&mut self) -> Result<(), Failure> {
        let [container, name] = &self.names;
        let mut request =
            self.service.request(Method::GET, &[container, name])?.header("if-match", &self.etag);
        if self.offset > 0 {
            request = request.header("x-ms-range", &format!("bytes={}-", self.offset));
        }
        let answer = self.service.send(&request, &self.cancel)?;
        self.check(&answer)?;
        self.incoming = Some(answer.into_body());
        Ok(())
    }

    /// Whether the answer is the part that was asked for: bytes of another place must never be taken for it.
    fn check(&self, answer: &Answer) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::unexpected(answer.action(), what));
        if self.offset > 0 {
            let range = answer.header("content-range").unwrap_or_default();
            let expected = format!("bytes {}-{}/{}", self.offset, self.total - 1, self.total);
            if answer.status() != 206 || range != expected {
                return wrong(format!("{expected:?} was asked for, {range:?} came"));
            }
        } else if let Some(length) = answer.header("content-length")
            && length != self.total.to_string()
        {
            return wrong(format!("it has {length} bytes, the list said {}", self.total));
        }
        Ok(())
    }

    fn read_some(&mut self, target: &mut [u8]) -> Result<usize, Failure> {
        loop {
            self.cancel.check()?;
            let failure = match &mut self.incoming {
                None => match self.connect() {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                Some(incoming) => match incoming.read(target) {
                    Ok(0) => Failure::broken(&self.describe(), "it ended before its last byte", true),
                    Ok(count) => {
                        self.breaks = 0;
                        return Ok(count);
                    }
                    Err(error) => Failure::from_io(&self.describe(), error),
                },
            };
            self.incoming = None;
            self.breaks += 1;
            // Asking anew has its own number of tries, and they are over.
            if !failure.is_transient() || failure.is_settled() || self.breaks >= BREAKS {
                return Err(failure);
            }
            // The first break is often only a connection that was closed: go on at once.
            if self.breaks > 1 {
                self.service.http.sleep(self.service.http.policy().pause(self.breaks - 1), &self.cancel)?;
            }
        }
    }

    fn describe(&self) -> String {
        format!("reading {}/{} at byte {} of {}", self.names[0], self.names[1], self.offset, self.total)
    }

    /// At the end, nothing more may come.
    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(mut incoming) = self.incoming.take() {
            let mut byte = [0];
            // An error after the last byte is no loss.
            if let Ok(1..) = incoming.read(&mut byte) {
                return Err(Failure::unexpected(&self.describe(), "more bytes came than were listed"));
            }
        }
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let left = self.total - self.offset;
        if left == 0 {
            return self.finish().map(|()| 0).map_err(|failure| io::Error::other(Error::from(failure)));
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(target.len());
        if wanted == 0 {
            return Ok(0);
        }
        match self.read_some(&mut target[..wanted]) {
            Ok(count) => {
                self.offset += count as u64;
                Ok(count)
            }
            Err(failure) => {
                let lost = Lost::of(&failure);
                if let Some(lost) = lost {
                    self.witness.0.store(lost as u8, Ordering::Release);
                }
                let kind = lost.map_or(io::ErrorKind::Other, Lost::kind);
                Err(io::Error::new(kind, Error::from(failure)))
            }
        }
    }
}
