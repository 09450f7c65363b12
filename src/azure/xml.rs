//! Lists and errors of the storage services are XML. It is read as it arrives: only one entry is held at a time, and none
//! that is larger than any of Azure's.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use percent_encoding::percent_decode_str;
use quick_xml::{
    Reader,
    errors::SyntaxError,
    events::{BytesRef, BytesStart, Event},
};

use super::failure::{Failure, NOT_AZURE};
use crate::error::Error;

/// How deep elements may nest: real answers have seven levels.
const MAX_DEPTH: usize = 32;
/// The longest text or tag, in bytes: names have 1,024 characters, metadata 8 KiB.
const MAX_TEXT: usize = 1 << 20;
/// The largest entry with all it holds, and the most that is kept beside the entries, in bytes.
const MAX_HELD: usize = 4 << 20;
/// What an element takes besides its texts, about.
const ELEMENT: usize = 128;
const BREAKS_OFF: &str = "the XML breaks off";

/// An element with all it holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Its name, without attributes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text directly within it, spaces and line ends included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The elements directly within it.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// The first element of this name directly within it.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first element of this name; an empty one counts as none.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(Self::text).filter(|text| !text.is_empty())
    }

    /// The name in `<Name>`. Azure percent-encodes one with characters that XML forbids, and then says
    /// `Encoded="true"`.
    ///
    /// # Errors
    /// There is no name, or it is not UTF-8.
    pub fn name_text(&self) -> Result<String, Error> {
        let Some(name) = self.child("Name") else {
            return Err(Error::failed(format!("an entry of the list of {:?} has no name", self.name)));
        };
        if !name.attribute("Encoded").is_some_and(|encoded| encoded.eq_ignore_ascii_case("true")) {
            return Ok(name.text.clone());
        }
        percent_decode_str(&name.text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Error::failed(format!("the name {:?} is not UTF-8", name.text)))
    }

    /// The elements of `<Metadata>` as pairs of name and value.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.child("Metadata").map(Self::children).unwrap_or_default();
        pairs.iter().map(|pair| (pair.name(), pair.text()))
    }
}

/// Reads a document and returns its root. Each element directly within `list`, which is the root or a child of it, is
/// handed to `each` as soon as it is complete, and is not kept.
///
/// # Errors
/// No well-formed XML, a text or an entry that is too large, the reader's error, or the first one of `each`. One that
/// breaks off may be whole the next time.
pub fn parse(
    input: impl BufRead,
    list: &str,
    each: &mut dyn FnMut(Element) -> Result<(), Failure>,
) -> Result<Element, Failure> {
    let mut reader = Reader::from_reader(Bounded { input, left: MAX_TEXT });
    let mut buffer = Vec::new();
    let mut open: Vec<Element> = Vec::new();
    // Bytes that are held, and how many of them were when the entry began.
    let (mut held, mut before) = (0, 0);
    let in_list = |open: &[Element]| matches!(open, [parent] | [_, parent] if parent.name == list);
    loop {
        buffer.clear();
        reader.get_mut().left = MAX_TEXT;
        let event = reader.read_event_into(&mut buffer).map_err(|error| failure(error, list))?;
        if matches!(event, Event::Start(_) | Event::Empty(_)) && in_list(&open) {
            before = held;
        }
        held += size(&event);
        if held > MAX_HELD {
            return Err(too_large(list, "one entry, or what is beside the entries, is larger than 4 MiB"));
        }
        let complete = match event {
            Event::Start(start) if open.len() < MAX_DEPTH => {
                open.push(element(&start, list)?);
                continue;
            }
            Event::Start(_) => return Err(malformed(list, "it is nested too deeply")),
            Event::Empty(start) => element(&start, list)?,
            Event::End(_) => open.pop().ok_or_else(|| malformed(list, "an end without a beginning"))?,
            Event::Text(text) => {
                add_text(&mut open, &text);
                continue;
            }
            Event::CData(text) => {
                add_text(&mut open, &text);
                continue;
            }
            Event::GeneralRef(reference) => {
                add_text(&mut open, &resolve(&reference, list)?);
                continue;
            }
            Event::Eof => return Err(ended(&open, list)),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
        };
        let is_entry = in_list(&open);
        match open.last_mut() {
            None => return Ok(complete),
            Some(_) if is_entry => {
                each(complete)?;
                held = before;
            }
            Some(parent) => parent.children.push(complete),
        }
    }
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

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(start: &BytesStart<'_>, list: &str) -> Result<Element, Failure> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| malformed(list, &error.to_string()))?;
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .map_err(|error| malformed(list, &error.to_string()))?;
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(Element { name: start.name().as_ref().to_owned(), attributes, ..Element::default() })
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

/// The document is over before its root is.
fn ended(open: &[Element], list: &str) -> Failure {
    match open.first() {
        // A page of a proxy is no better the next time.
        Some(root) if !root.name.eq_ignore_ascii_case("html") => {
            Failure::broken(&what(list), BREAKS_OFF, true)
        }
        _ => malformed(list, "there is no whole element"),
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
mod tests {
    use super::*;

    fn read(text: &[u8], list: &str) -> Result<(Element, Vec<Element>), Failure> {
        let mut found = Vec::new();
        let root = parse(text, list, &mut |element| {
            found.push(element);
            Ok(())
        })?;
        Ok((root, found))
    }

    #[test]
    fn entries_come_one_by_one_and_the_rest_is_the_root() {
        let text = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults A=\"&lt;1\"><Blobs>\
            <Blob><Name> a&amp;b &#x20AC;\r\n</Name><Metadata><Blob>x</Blob><k/></Metadata></Blob>\
            <Blob><Name Encoded=\"true\">%01%2525</Name></Blob></Blobs><NextMarker>m</NextMarker>\
            </EnumerationResults>";
        let (root, blobs) = read(text.as_bytes(), "Blobs").unwrap();
        assert_eq!(root.attribute("A"), Some("<1"));
        assert_eq!(root.text_of("NextMarker"), Some("m"));
        assert!(root.child("Blobs").unwrap().children().is_empty());
        let names: Vec<_> = blobs.iter().map(|blob| blob.name_text().unwrap()).collect();
        assert_eq!(names, [" a&b €\r\n", "\u{1}%25"]);
        assert_eq!(blobs[0].metadata().collect::<Vec<_>>(), [("Blob", "x"), ("k", "")]);
    }

    #[test]
    fn spaces_in_names_stay() {
        let (_, blobs) = read(b"<R><Blobs><B><Name>  </Name></B></Blobs></R>", "Blobs").unwrap();
        assert_eq!(blobs[0].name_text().unwrap(), "  ");
    }

    #[test]
    fn half_a_document_is_an_error() {
        for text in
            ["", "<a>", "<a><b></a>", "<a><Blobs><B></B></Blobs>", "text", "<a>&unknown;</a>", "<a>\u{0}</b>"]
        {
            assert!(read(text.as_bytes(), "Blobs").is_err(), "{text}");
        }
        assert!(read("<a>".repeat(100).as_bytes(), "").unwrap_err().to_string().contains("deep"));
        assert!(read(b"<a>\xff</a>", "").is_err());
        assert!(
            read(b"<R><Blobs><B><Name Encoded=\"true\">%ff</Name></B></Blobs></R>", "Blobs").unwrap().1[0]
                .name_text()
                .is_err()
        );
    }

    #[test]
    fn what_breaks_off_is_asked_for_again_and_a_page_of_a_proxy_is_not() {
        for text in ["<R>", "<R><Blobs><B><Name>a", "<R><Blobs><B", "<R><Blobs><B></B></Blobs>"] {
            let error = read(text.as_bytes(), "Blobs").unwrap_err();
            assert!(error.is_transient(), "{text}: {error}");
            assert_eq!(error.to_string(), "Azure's list <Blobs>: the XML breaks off");
        }
        for text in ["", "text", "<!DOCTYPE html><html><body>", "<html><br></html>", "<R></S>"] {
            let error = read(text.as_bytes(), "Blobs").unwrap_err();
            assert!(!error.is_transient(), "{text}: {error}");
            assert_eq!(Error::from(error).hint_text(), Some(NOT_AZURE), "{text}");
        }
    }

    /// How many entries a document has, in which `part` stands so many times.
    fn long(head: &str, part: &str, times: usize, tail: &str) -> Result<usize, Failure> {
        let (input, mut count) = (format!("{head}{}{tail}", part.repeat(times)), 0);
        parse(input.as_bytes(), "Blobs", &mut |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    #[test]
    fn memory_has_a_bound_whatever_is_sent() {
        let refused = |result: Result<usize, Failure>, says: &str| {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(says), "{text}");
        };
        let name = "<R><Blobs><B><Name>";
        refused(long(name, "abcdefgh", 300_000, "</Name></B></Blobs></R>"), "longer than 1 MiB");
        refused(long("<R><Blobs><B a=\"", "abcdefgh", 300_000, "\"/></Blobs></R>"), "longer than 1 MiB");
        refused(long("<R><!--", "abcdefgh", 300_000, "--><Blobs/></R>"), "longer than 1 MiB");
        refused(long(name, "abc&amp;", 2_000_000, "</Name></B></Blobs></R>"), "larger than 4 MiB");
        refused(long("<R><Blobs><B>", "<a/>", 50_000, "</B></Blobs></R>"), "larger than 4 MiB");
        refused(long("<R>", "<a/>", 50_000, "<Blobs/></R>"), "larger than 4 MiB");
        // Many entries, and together more than that, are what lists are made of.
        let entry = "<B><Name>abcdefghabcdefghabcdefghabcdefgh</Name><a/><b/><c/></B>";
        assert_eq!(long("<R><Blobs>", entry, 50_000, "</Blobs></R>").unwrap(), 50_000);
        assert_eq!(long(name, "abcdefgh", 100_000, "</Name></B></Blobs></R>").unwrap(), 1);
    }

    #[test]
    fn an_error_of_the_connection_is_told_from_bad_xml() {
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other(Failure::broken("GET x", "reset", true)))
            }
        }
        let error = parse(std::io::BufReader::new(Broken), "", &mut |_| Ok(())).unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.to_string(), "GET x: reset");
    }
}
