//! Lists and errors of the storage services are XML. It is read as it arrives: only one entry is held at a time.

use std::io::BufRead;

use percent_encoding::percent_decode_str;
use quick_xml::{
    Reader,
    events::{BytesRef, BytesStart, Event},
};

use super::failure::Failure;
use crate::error::Error;

/// How deep elements may nest: real answers have seven levels.
const MAX_DEPTH: usize = 32;

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
/// No well-formed XML, the reader's error, or the first one of `each`.
pub fn parse(
    input: impl BufRead,
    list: &str,
    each: &mut dyn FnMut(Element) -> Result<(), Failure>,
) -> Result<Element, Failure> {
    let mut reader = Reader::from_reader(input);
    let mut buffer = Vec::new();
    let mut open: Vec<Element> = Vec::new();
    loop {
        buffer.clear();
        let complete = match reader.read_event_into(&mut buffer).map_err(failure)? {
            Event::Start(start) if open.len() < MAX_DEPTH => {
                open.push(element(&start)?);
                continue;
            }
            Event::Start(_) => return Err(malformed("it is nested too deeply")),
            Event::Empty(start) => element(&start)?,
            Event::End(_) => open.pop().ok_or_else(|| malformed("an end without a beginning"))?,
            Event::Text(text) => {
                add_text(&mut open, &text);
                continue;
            }
            Event::CData(text) => {
                add_text(&mut open, &text);
                continue;
            }
            Event::GeneralRef(reference) => {
                add_text(&mut open, &resolve(&reference)?);
                continue;
            }
            Event::Eof => return Err(malformed("it breaks off")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
        };
        let in_list = matches!(open.as_slice(), [parent] | [_, parent] if parent.name == list);
        match open.last_mut() {
            None => return Ok(complete),
            Some(_) if in_list => each(complete)?,
            Some(parent) => parent.children.push(complete),
        }
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, Failure> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| malformed(&error.to_string()))?;
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .map_err(|error| malformed(&error.to_string()))?;
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(Element { name: start.name().as_ref().to_owned(), attributes, ..Element::default() })
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, Failure> {
    if let Some(character) = reference.resolve_char_ref().map_err(failure)? {
        return Ok(character.to_string());
    }
    match quick_xml::escape::resolve_predefined_entity(reference) {
        Some(text) => Ok(text.to_owned()),
        None => Err(malformed(&format!("&{};", &**reference))),
    }
}

/// An error of the reader underneath comes out as it went in: it says whether another try may help.
fn failure(error: quick_xml::Error) -> Failure {
    if let quick_xml::Error::Io(io) = &error {
        return match io.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()) {
            Some(failure) => failure.clone(),
            None => Failure::broken("reading an answer", io.to_string(), true),
        };
    }
    malformed(&error.to_string())
}

fn malformed(what: &str) -> Failure {
    Failure::local(format!("Azure's answer is no well-formed XML: {what}"))
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
