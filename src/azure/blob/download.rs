//! Reading a blob: exactly the listed version, with reconnects if necessary. An append blob may grow
//! in the meantime: its listed part does not change.

use std::io::{self, Read};

use reqwest::Method;

use super::{Blob, BlobService, BlobType, model::rfc3339, pages::Ranges};
use crate::{
    azure::{
        failure::{Failure, Scope},
        http::{Answer, Incoming},
        retry::Breaks,
        witness::Witness,
    },
    stream::{cancel::Cancel, sparse::SparseRead},
};

/// The result of an attempt to read a blob.
pub enum Download {
    /// Its content.
    Body(Box<Body>),
    /// The version differs from the listed one, or it was deleted: list it again.
    Changed,
    /// It no longer exists.
    Gone,
    /// Its content is in the archive tier and cannot be read.
    Archived,
}

/// A blob's content. It ends after exactly the listed number of bytes, or with an error that
/// [`Error::from_io`](crate::error::Error::from_io) extracts unchanged. The parts of a page blob without pages are
/// holes: they are not requested.
pub struct Body {
    service: BlobService,
    names: [String; 2],
    kind: BlobType,
    /// In quotes.
    etag: String,
    created: Option<String>,
    offset: u64,
    total: u64,
    incoming: Option<Incoming>,
    /// The end of the current response.
    until: u64,
    /// The pages of a page blob, if their list could be read.
    ranges: Option<Ranges>,
    /// The number of blocks of an append blob in the last response.
    blocks: Option<u64>,
    /// Whether every response was of the listed version.
    listed_state: bool,
    breaks: Breaks,
    witness: Witness,
    cancel: Cancel,
}

/// The next part.
enum Next {
    /// This number of zeros.
    Hole(u64),
    /// Data up to this offset.
    Data(u64),
}

impl BlobService {
    /// Starts to read the listed version of a blob; of an append blob the listed part.
    ///
    /// # Errors
    /// The service refuses or does not answer, or its name cannot be part of a web address (`.` and `..`).
    pub fn download(&self, container: &str, blob: &Blob, cancel: &Cancel) -> Result<Download, Failure> {
        if let Some(odd) = &blob.odd {
            let what = format!(
                "its entry in the list is not supported: {odd}; a newer version of this program may support it"
            );
            return Err(Failure::local(what).of_object());
        }
        if blob.is_archived() {
            return Ok(Download::Archived);
        }
        let mut body = Body {
            service: self.clone(),
            names: [container.to_owned(), blob.name.clone()],
            kind: blob.kind,
            etag: format!("\"{}\"", blob.etag.trim_matches('"')),
            created: blob.properties.created.clone(),
            offset: 0,
            total: blob.bytes,
            incoming: None,
            until: 0,
            ranges: None,
            blocks: None,
            listed_state: true,
            breaks: Breaks::default(),
            witness: Witness::default(),
            cancel: cancel.clone(),
        };
        match body.begin() {
            Ok(()) => Ok(Download::Body(Box::new(body))),
            Err(failure) if failure.is_changed() => Ok(Download::Changed),
            Err(failure) if failure.is_gone() => Ok(Download::Gone),
            Err(failure) if is_archived(&failure) => Ok(Download::Archived),
            Err(failure) => Err(failure),
        }
    }
}

fn is_archived(failure: &Failure) -> bool {
    failure.is("BlobArchived") || failure.is("BlobBeingRehydrated")
}

impl Body {
    /// A handle that provides the cause of a failure later.
    pub fn witness(&self) -> Witness {
        self.witness.clone()
    }

    /// Whether all data is of the listed version. It is not if an append blob grew, or got other
    /// properties, before or while it was read.
    pub fn is_listed_state(&self) -> bool {
        self.listed_state
    }

    /// Requests the beginning, or the list of pages of a page blob.
    fn begin(&mut self) -> Result<(), Failure> {
        match self.kind {
            // An empty range cannot be requested.
            BlobType::Append if self.total == 0 => Ok(()),
            BlobType::Page if self.total > 0 => {
                self.ranges = Some(Ranges::default());
                match self.next() {
                    Ok(_) => Ok(()),
                    Err(failure)
                        if failure.is_changed()
                            || failure.is_gone()
                            || is_archived(&failure)
                            || failure.scope() == Scope::Passing =>
                    {
                        Err(failure)
                    }
                    Err(_) => {
                        self.cancel.check()?;
                        // Without the list it is read completely, which is slower but correct.
                        self.ranges = None;
                        self.connect(self.total)
                    }
                }
            }
            _ => self.connect(self.total),
        }
    }

    /// The next part. At the end it is empty.
    fn next(&mut self) -> Result<Next, Failure> {
        let Some(ranges) = &mut self.ranges else { return Ok(Next::Data(self.total)) };
        let (service, names, etag, total) = (&self.service, &self.names, &self.etag, self.total);
        let (offset, cancel) = (self.offset, &self.cancel);
        let list = format!("the list of pages of {}/{}", names[0], names[1]);
        let mut ask = |marker: &str| service.ranges(names, etag, total, marker, cancel);
        let range = ranges.at_or_after(offset, &list, &mut ask)?;
        Ok(match range {
            Some(range) if range.start > offset => Next::Hole(range.start - offset),
            Some(range) => Next::Data(range.end),
            None => Next::Hole(total - offset),
        })
    }

    /// Requests the remaining data up to `end`.
    fn connect(&mut self, end: u64) -> Result<(), Failure> {
        let [container, name] = &self.names;
        let grows = self.kind == BlobType::Append;
        let mut request = self.service.request(Method::GET, &[container, name])?;
        if !grows {
            request = request.header("if-match", &self.etag);
        }
        let range = if grows || end < self.total {
            Some(format!("bytes={}-{}", self.offset, end - 1))
        } else {
            (self.offset > 0).then(|| format!("bytes={}-", self.offset))
        };
        let request = request.header_if("x-ms-range", range.as_deref());
        let answer = self.service.send(&request, &self.cancel).map_err(|failure| {
            let shorter = grows && failure.status() == Some(416);
            if shorter { Failure::changed(&request.describe(), SHORTER) } else { failure }
        })?;
        if grows {
            self.check_grown(&answer, end)?;
        } else {
            self.check(&answer, range.map(|_| end))?;
        }
        (self.incoming, self.until) = (Some(answer.into_body()), end);
        Ok(())
    }

    /// Checks that the response is the requested range: bytes of another range must never be used.
    fn check(&self, answer: &Answer, end: Option<u64>) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::unexpected(answer.action(), what).of_object());
        if let Some(end) = end {
            let range = answer.header("content-range").unwrap_or_default();
            let expected = format!("bytes {}-{}/{}", self.offset, end - 1, self.total);
            if answer.status() != 206 || range != expected {
                return wrong(format!("{expected:?} was requested, {range:?} was received"));
            }
        } else if let Some(length) = answer.header("content-length")
            && length != self.total.to_string()
        {
            return wrong(format!("it has {length} bytes, the list said {}", self.total));
        }
        Ok(())
    }

    /// Like [`Body::check`], of an append blob that may be longer than it was: whether it is still the same one, whose
    /// beginning never changes.
    fn check_grown(&mut self, answer: &Answer, end: u64) -> Result<(), Failure> {
        let changed = |what: &str| Err(Failure::changed(answer.action(), what));
        let wrong = |what: String| Err(Failure::unexpected(answer.action(), what).of_object());
        if answer.header("x-ms-blob-type").is_some_and(|kind| kind != BlobType::Append.name()) {
            return changed("it is no longer an append blob");
        }
        // Not every implementation of the protocol reports the creation time.
        let now = answer.header("x-ms-creation-time").map(rfc3339);
        if now.is_some() && self.created.is_some() && now != self.created {
            return changed("it was recreated");
        }
        let range = answer.header("content-range").unwrap_or_default();
        let whole = || {
            // A service without ranges sends the whole blob.
            let length: u64 = answer.header("content-length")?.parse().ok()?;
            (answer.status() == 200 && self.offset == 0).then_some((0, end - 1, length))
        };
        let part = parse_range(range).filter(|_| answer.status() == 206);
        let Some((first, last, total)) = part.or_else(whole) else {
            return wrong(format!("a range was requested, {range:?} was received"));
        };
        if total < self.total {
            return changed(SHORTER);
        }
        if (first, last) != (self.offset, end - 1) {
            return wrong(format!(
                "bytes {} to {} were requested, {range:?} was received",
                self.offset,
                end - 1
            ));
        }
        // Blocks are only added, unless it is rewritten.
        let blocks: Option<u64> =
            answer.header("x-ms-blob-committed-block-count").and_then(|count| count.parse().ok());
        if let (Some(before), Some(now)) = (self.blocks, blocks)
            && now < before
        {
            return changed("it was rewritten");
        }
        self.blocks = blocks.or(self.blocks);
        let etag = answer.header("etag").unwrap_or_default();
        self.listed_state &= etag.trim_matches('"') == self.etag.trim_matches('"');
        Ok(())
    }

    /// Reads data before `end`, requesting it if necessary.
    fn read_some(&mut self, target: &mut [u8], end: u64) -> Result<usize, Failure> {
        loop {
            self.cancel.check()?;
            let failure = match &mut self.incoming {
                None => match self.connect(end) {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                Some(incoming) => match incoming.read(target) {
                    Ok(0) => Failure::broken(&self.describe(), "it ended before its last byte", true),
                    Ok(count) => {
                        self.breaks.came(count);
                        return Ok(count);
                    }
                    Err(error) => Failure::from_io(&self.describe(), error),
                },
            };
            self.incoming = None;
            // The new request has its own timeout; when that is over, the failure is final.
            match self.breaks.pause(self.service.http.policy(), &failure) {
                None => return Err(failure),
                Some(pause) if pause.is_zero() => {}
                Some(pause) => self.service.http.sleep(pause, &self.cancel)?,
            }
        }
    }

    fn describe(&self) -> String {
        format!("reading {}/{} at byte {} of {}", self.names[0], self.names[1], self.offset, self.total)
    }

    /// Checks that no more data follows at the end of a part.
    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(mut incoming) = self.incoming.take()
            // Data added to an append blob since then is ignored.
            && self.kind != BlobType::Append
        {
            let mut byte = [0];
            // An error after the last byte is ignored.
            if let Ok(1..) = incoming.read(&mut byte) {
                let what = "more bytes came than were listed";
                return Err(Failure::unexpected(&self.describe(), what).of_object());
            }
        }
        Ok(())
    }

    fn read_next(&mut self, target: &mut [u8]) -> Result<usize, Failure> {
        if self.offset == self.total || target.is_empty() {
            return if self.offset == self.total { self.finish().map(|()| 0) } else { Ok(0) };
        }
        let next = self.next()?;
        if self.offset >= self.until {
            self.finish()?;
        }
        let count = match next {
            Next::Hole(bytes) => {
                let count = at_most(bytes, target.len());
                target[..count].fill(0);
                count
            }
            Next::Data(end) => {
                let count = at_most(end - self.offset, target.len());
                self.read_some(&mut target[..count], end)?
            }
        };
        self.offset += count as u64;
        Ok(count)
    }
}

const SHORTER: &str = "it is shorter than it was when it was listed";

fn at_most(bytes: u64, room: usize) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(room)
}

/// First and last byte and the length of the whole in a header such as `bytes 0-9/20`.
fn parse_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
}

impl Read for Body {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.read_next(target).map_err(|failure| self.witness.testify(failure))
    }
}

impl SparseRead for Body {
    fn hole(&mut self) -> io::Result<u64> {
        if self.offset == self.total {
            return Ok(0);
        }
        match self.next() {
            Ok(Next::Hole(bytes)) => Ok(bytes),
            Ok(Next::Data(_)) => Ok(0),
            Err(failure) => Err(self.witness.testify(failure)),
        }
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.hole()? {
            return Err(io::Error::other("only a hole can be skipped"));
        }
        self.offset += bytes;
        Ok(())
    }
}
