//! Lists and errors of the storage services are XML. A list is read as it arrives: only one entry is held at a time, and none
//! that is larger than any of Azure's.
//!
//! What an entry holds is read by serde. What serde does not do stays with a small reader of events, [`list`]: it hands entries
//! on one by one, enforces limits of size and depth, distinguishes truncated documents, which are requested again, from invalid
//! XML, and keeps names unchanged: serde would drop names of only spaces and change line ends.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, Read},
};

use percent_encoding::percent_decode_str;
use quick_xml::{
    Reader, Writer,
    errors::SyntaxError,
    events::{BytesRef, BytesStart, Event},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::failure::{Failure, NOT_AZURE};
use crate::error::Error;

/// How deep elements may nest: real answers have seven levels.
const MAX_DEPTH: usize = 32;
/// The longest text or tag, in bytes: names have 1,024 characters, metadata 8 KiB.
const MAX_TEXT: usize = 1 << 20;
/// The largest entry with all it holds, and the most that is read beside the entries, in bytes.
const MAX_HELD: usize = 4 << 20;
/// The approximate memory of an element besides its texts.
const ELEMENT: usize = 128;
/// Most entries are not larger than this, in bytes.
const USUAL: usize = 2 << 10;
const BREAKS_OFF: &str = "the XML breaks off";

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    kind: String,
    name: Option<Name>,
    /// The element with its content.
    xml: String,
}

/// The content of `<Name>`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Name {
    text: String,
    encoded: bool,
}

impl Entry {
    /// Its element's name, for example `Blob`.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// The name in `<Name>`, spaces and line ends included. Azure percent-encodes one with characters that XML forbids, and
    /// then says `Encoded="true"`.
    ///
    /// # Errors
    /// There is no name, or it is not UTF-8.
    pub(super) fn name(&self) -> Result<String, Error> {
        let Some(Name { text, encoded }) = &self.name else {
            return Err(Error::failed(format!("an entry of the list of {:?} has no name", self.kind)));
        };
        if !encoded {
            return Ok(text.clone());
        }
        percent_decode_str(text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Error::failed(format!("the name {text:?} is not UTF-8")))
    }

    /// Its content.
    ///
    /// # Errors
    /// An element that is known holds something else than it should, or is there twice.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        quick_xml::de::from_str(&self.xml).map_err(|error| {
            Error::failed(format!("Azure's entry <{}> is not what Azure documents: {error}", self.kind))
                .hint(NOT_AZURE)
        })
    }
}

/// The content of a document besides the entries of its list.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    /// The name of its root.
    pub(super) root: String,
    /// Whether it has the list, which may be empty.
    pub(super) has_list: bool,
    /// The marker of the next page in the root's `<NextMarker>`, unless that is empty.
    pub(super) next: Option<String>,
}

/// The names and values of an entry's metadata: its elements. Its attributes, such as `Encrypted="true"` of blobs that are
/// encrypted with a customer's key, are no metadata; serde marks them and plain text in their names.
pub(super) fn metadata<'de, D: Deserializer<'de>>(element: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut pairs = BTreeMap::<String, String>::deserialize(element)?;
    pairs.retain(|name, _| !name.starts_with(['@', '$']));
    Ok(pairs)
}

/// Reads a document. Each element directly within `list`, which is the root or a child of it, is handed to `each` as soon as
/// it is complete, and is not kept.
///
/// # Errors
/// No well-formed XML, a text or an entry that is too large, the reader's error, or the first one of `each`. One that
/// breaks off may be whole the next time.
pub(super) fn list(
    input: impl BufRead,
    list: &str,
    each: &mut dyn FnMut(Entry) -> Result<(), Failure>,
) -> Result<Rest, Failure> {
    let mut reader = Reader::from_reader(Bounded { input, left: MAX_TEXT });
    let (mut buffer, mut frame) = (Vec::new(), Frame { list, ..Frame::default() });
    loop {
        buffer.clear();
        reader.get_mut().left = MAX_TEXT;
        let event = reader.read_event_into(&mut buffer).map_err(|error| failure(error, list))?;
        if let Event::Eof = event {
            return Err(frame.ended());
        }
        if let Some(entry) = frame.take(event)? {
            each(entry)?;
        }
        if frame.is_over() {
            return Ok(frame.rest);
        }
    }
}

/// A document that is being read.
#[derive(Default)]
struct Frame<'a> {
    /// The name of the element whose children are the entries.
    list: &'a str,
    rest: Rest,
    /// How many elements are open, and how many were.
    depth: usize,
    elements: usize,
    /// Whether the child of the root that is open is the list, or the marker.
    in_list: bool,
    in_marker: bool,
    /// The entry that is open.
    entry: Option<Open>,
    /// Bytes that are held, and how many of them were when the entry began.
    held: usize,
    before: usize,
}

/// An entry that is being read.
struct Open {
    entry: Entry,
    writer: Writer<Vec<u8>>,
    /// How many elements are open around it.
    depth: usize,
    /// Whether its name is what is read now.
    in_name: bool,
}

impl Frame<'_> {
    /// Takes the next event over. Returns the entry that it completes.
    fn take(&mut self, event: Event<'_>) -> Result<Option<Entry>, Failure> {
        if matches!(event, Event::Start(_) | Event::Empty(_)) && self.begins_entry() {
            self.before = self.held;
        }
        self.held += size(&event);
        if self.held > MAX_HELD {
            return Err(too_large(
                self.list,
                "one entry, or what is beside the entries, is larger than 4 MiB",
            ));
        }
        match &event {
            Event::Start(_) if self.depth >= MAX_DEPTH => {
                return Err(malformed(self.list, "it is nested too deeply"));
            }
            Event::Start(start) | Event::Empty(start) => self.begin(start)?,
            Event::End(_) if self.depth == 0 => {
                return Err(malformed(self.list, "an end without a beginning"));
            }
            Event::Text(text) => self.text(text),
            Event::CData(text) => self.text(text),
            Event::GeneralRef(reference) => {
                let text = resolve(reference, self.list)?;
                self.text(&text);
            }
            Event::End(_) => {}
            _ => return Ok(None),
        }
        let ends = matches!(event, Event::End(_) | Event::Empty(_));
        if let Some(open) = &mut self.entry {
            let written = open.writer.write_event(event);
            written.map_err(|error| malformed(self.list, &error.to_string()))?;
        }
        if ends { self.end() } else { Ok(None) }
    }

    /// Whether an element that begins now is an entry.
    fn begins_entry(&self) -> bool {
        self.entry.is_none()
            && match self.depth {
                1 => self.rest.root == self.list,
                2 => self.in_list,
                _ => false,
            }
    }

    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), Failure> {
        let name = start.name();
        let name = name.as_ref();
        if self.begins_entry() {
            let entry = Entry { kind: name.to_owned(), name: None, xml: String::new() };
            let writer = Writer::new(Vec::with_capacity(USUAL));
            self.entry = Some(Open { entry, writer, depth: self.depth, in_name: false });
        } else if let Some(open) = &mut self.entry {
            if self.depth == open.depth + 1 && name == "Name" && open.entry.name.is_none() {
                let encoded = is_encoded(start, self.list)?;
                open.entry.name = Some(Name { text: String::new(), encoded });
                open.in_name = true;
            }
        } else if self.depth == 0 {
            self.rest.root = name.to_owned();
        } else if self.depth == 1 {
            self.in_list = name == self.list;
            self.rest.has_list |= self.in_list;
            self.in_marker = name == "NextMarker" && self.rest.next.is_none();
            if self.in_marker {
                self.rest.next = Some(String::new());
            }
        }
        self.depth += 1;
        self.elements += 1;
        Ok(())
    }

    fn text(&mut self, text: &str) {
        match &mut self.entry {
            Some(Open { entry: Entry { name: Some(name), .. }, depth, in_name: true, .. })
                if self.depth == *depth + 2 =>
            {
                name.text.push_str(text);
            }
            Some(_) => {}
            None if self.depth == 2 && self.in_marker => {
                self.rest.next.get_or_insert_default().push_str(text);
            }
            None => {}
        }
    }

    /// An element ended. Returns the entry, if it was one.
    fn end(&mut self) -> Result<Option<Entry>, Failure> {
        self.depth -= 1;
        if self.depth == 1 {
            (self.in_list, self.in_marker) = (false, false);
        }
        let Some(open) = &mut self.entry else {
            return Ok(None);
        };
        if self.depth == open.depth + 1 {
            open.in_name = false;
        }
        if self.depth > open.depth {
            return Ok(None);
        }
        self.held = self.before;
        let Some(Open { mut entry, writer, .. }) = self.entry.take() else { return Ok(None) };
        entry.xml = String::from_utf8(writer.into_inner())
            .map_err(|error| malformed(self.list, &error.to_string()))?;
        Ok(Some(entry))
    }

    /// Whether the root is complete.
    fn is_over(&mut self) -> bool {
        let over = self.elements > 0 && self.depth == 0;
        if over {
            self.rest.next = self.rest.next.take().filter(|marker| !marker.is_empty());
        }
        over
    }

    /// The document is over before its root is.
    fn ended(&self) -> Failure {
        // A page of a proxy will not change with a retry.
        if self.elements > 0 && !self.rest.root.eq_ignore_ascii_case("html") {
            Failure::broken(&what(self.list), BREAKS_OFF, true)
        } else {
            malformed(self.list, "there is no whole element")
        }
    }
}

/// Whether an element has the attribute `Encoded="true"`.
fn is_encoded(start: &BytesStart<'_>, list: &str) -> Result<bool, Failure> {
    let mut encoded = false;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| malformed(list, &error.to_string()))?;
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .map_err(|error| malformed(list, &error.to_string()))?;
        encoded |= attribute.key.as_ref() == "Encoded" && value.eq_ignore_ascii_case("true");
    }
    Ok(encoded)
}

/// Ends with an error if more is read than may be left for one text.
struct Bounded<R> {
    input: R,
    left: usize,
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(TooLong));
        }
        let filled = self.input.fill_buf()?;
        Ok(&filled[..filled.len().min(self.left)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.input.consume(count);
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(target)?;
        self.consume(count);
        Ok(count)
    }
}

/// A text is longer than [`MAX_TEXT`].
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one text or tag is longer than 1 MiB")
    }
}

impl std::error::Error for TooLong {}

/// What is held of an event, about.
fn size(event: &Event<'_>) -> usize {
    match event {
        Event::Start(start) | Event::Empty(start) => start.len() + ELEMENT,
        Event::Text(text) => text.len(),
        Event::CData(text) => text.len(),
        Event::GeneralRef(_) => 4,
        _ => 0,
    }
}

fn resolve(reference: &BytesRef<'_>, list: &str) -> Result<String, Failure> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| failure(error, list))? {
        return Ok(character.to_string());
    }
    match quick_xml::escape::resolve_predefined_entity(reference) {
        Some(text) => Ok(text.to_owned()),
        None => Err(malformed(list, &format!("&{};", &**reference))),
    }
}

/// An error of the reader underneath comes out as it went in: it says whether another try may help.
fn failure(error: quick_xml::Error, list: &str) -> Failure {
    if let quick_xml::Error::Io(io) = &error {
        let inner = io.get_ref();
        if let Some(too_long) = inner.and_then(|inner| inner.downcast_ref::<TooLong>()) {
            return too_large(list, &too_long.to_string());
        }
        return match inner.and_then(|inner| inner.downcast_ref::<Failure>()) {
            Some(failure) => failure.clone(),
            None => Failure::broken("reading an answer", io.to_string(), true),
        };
    }
    match &error {
        quick_xml::Error::Syntax(SyntaxError::InvalidBangMarkup) => malformed(list, &error.to_string()),
        // All others of these say that it ends within a tag, a comment or the like.
        quick_xml::Error::Syntax(_) => Failure::broken(&what(list), BREAKS_OFF, true),
        _ => malformed(list, &error.to_string()),
    }
}

fn malformed(list: &str, problem: &str) -> Failure {
    Failure::local(format!("{} is no well-formed XML: {problem}", what(list))).hint(NOT_AZURE)
}

fn too_large(list: &str, problem: &str) -> Failure {
    Failure::local(format!("{} is not what Azure documents: {problem}", what(list))).hint(NOT_AZURE)
}

/// What is read, in messages.
fn what(list: &str) -> String {
    if list.is_empty() { "Azure's answer".to_owned() } else { format!("Azure's list <{list}>") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "xml_tests.rs"]
mod tests;
