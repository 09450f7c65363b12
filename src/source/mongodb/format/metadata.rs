//! `<collection>.metadata.json`: options and indexes of a collection or view, on one line of Extended JSON.

use mongodb::bson::{RawDocument, RawDocumentBuf, Uuid};

use super::extjson::{Node, document_of, parse_document, write_document, write_text};
use crate::error::{Error, Result};

/// Options and indexes of a collection or view.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Its options from listCollections; for a view `viewOn` and `pipeline`.
    pub options: RawDocumentBuf,
    /// Its indexes from listIndexes.
    pub indexes: Vec<RawDocumentBuf>,
    /// Its UUID on the server it comes from; views have none.
    pub uuid: Option<Uuid>,
    /// Its name.
    pub collection: String,
    /// `collection`, `view` or `timeseries`; very old servers do not say.
    pub kind: Option<String>,
}

impl Metadata {
    /// The metadata of a collection without options and with unknown indexes.
    pub fn named(collection: String) -> Self {
        Self { options: RawDocumentBuf::new(), indexes: Vec::new(), uuid: None, collection, kind: None }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// An option or index is not valid BSON, or holds a document that Extended JSON would take for a value of another
    /// type, such as `{"$numberInt": "1"}`.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = vec![b'{'];
        if self.options.iter_elements().next().is_some() {
            json.extend(b"\"options\":");
            write_document(&self.options, &mut json)?;
            json.push(b',');
        }
        json.extend(b"\"indexes\":");
        json.extend(documents_to_json(&self.indexes)?);
        if let Some(uuid) = &self.uuid {
            json.extend(b",\"uuid\":\"");
            json.extend(uuid.bytes().iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
            json.push(b'"');
        }
        json.extend(b",\"collectionName\":");
        write_text(&self.collection, &mut json);
        if let Some(kind) = self.kind.as_ref().filter(|kind| !kind.is_empty()) {
            json.extend(b",\"type\":");
            write_text(kind, &mut json);
        }
        json.push(b'}');
        if Self::from_json(&json)? != *self {
            return Err(Error::failed(format!(
                "options or indexes of {} cannot be written as Extended JSON: they hold a document whose keys mean a \
                 type there",
                self.collection
            ))
            .hint("look for keys such as $oid or $date in its validator, its indexes and its pipeline"));
        }
        Ok(json)
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not the format of [`Metadata::to_json`]. Unknown fields are ignored.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let node = serde_json::from_slice(json)
            .map_err(|error| Error::failed("the metadata is not valid JSON").because(&error))?;
        let Node::Object(fields) = node else {
            return Err(Error::failed("the metadata is not a JSON object"));
        };
        let mut metadata = Self::named(String::new());
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("options", Node::Object(options)) => metadata.options = document_of(&options)?,
                ("indexes", Node::Array(indexes)) => metadata.indexes = documents_of(&indexes)?,
                ("uuid", Node::Text(text)) if !text.is_empty() => {
                    let uuid = Uuid::parse_str(&text);
                    metadata.uuid = Some(uuid.map_err(|_| Error::failed(format!("{text:?} is not a UUID")))?);
                }
                ("collectionName", Node::Text(name)) => metadata.collection = name,
                ("type", Node::Text(kind)) => metadata.kind = Some(kind),
                (_, Node::Null) => {}
                (_, Node::Text(text)) if text.is_empty() => {}
                ("options" | "indexes" | "uuid" | "collectionName" | "type", _) => {
                    return Err(Error::failed(format!("the metadata's {key} is not of its type")));
                }
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// Is it a view?
    pub fn is_view(&self) -> bool {
        self.option("viewOn").is_some()
    }

    /// Is it a time series?
    pub fn is_time_series(&self) -> bool {
        self.option("timeseries").is_some()
    }

    /// One of the options.
    pub fn option(&self, name: &str) -> Option<mongodb::bson::RawBsonRef<'_>> {
        self.options.get(name).ok().flatten()
    }
}

/// Documents, for example the definitions of search indexes, as an array of canonical Extended JSON on one line.
///
/// # Errors
/// One is not valid BSON.
pub fn documents_to_json<D: AsRef<RawDocument>>(documents: &[D]) -> Result<Vec<u8>> {
    let mut json = vec![b'['];
    for (position, document) in documents.iter().enumerate() {
        if position > 0 {
            json.push(b',');
        }
        write_document(document.as_ref(), &mut json)?;
    }
    json.push(b']');
    Ok(json)
}

/// Reads what [`documents_to_json`] writes.
///
/// # Errors
/// It has another format.
pub fn documents_from_json(json: &[u8]) -> Result<Vec<RawDocumentBuf>> {
    match serde_json::from_slice(json) {
        Ok(Node::Array(documents)) => documents_of(&documents),
        Ok(_) => parse_document(json).map(|document| vec![document]),
        Err(error) => Err(Error::failed("not valid JSON").because(&error)),
    }
}

fn documents_of(nodes: &[Node]) -> Result<Vec<RawDocumentBuf>> {
    nodes
        .iter()
        .map(|node| match node {
            Node::Object(fields) => document_of(fields),
            _ => Err(Error::failed("an object was expected in the array")),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mongodb::bson::{doc, rawdoc};

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mongodump-100.18/golden");

    #[test]
    fn what_stock_mongodump_wrote_is_written_again_byte_for_byte() {
        let mut seen = 0;
        for entry in std::fs::read_dir(GOLDEN).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(stem) = name.strip_suffix(".metadata.json") else { continue };
            let json = std::fs::read(&path).unwrap();
            let metadata = Metadata::from_json(&json).unwrap();
            assert_eq!(
                String::from_utf8(metadata.to_json().unwrap()).unwrap(),
                String::from_utf8(json).unwrap()
            );
            assert_eq!(super::super::names::file_stem(&metadata.collection), stem);
            assert_eq!(super::super::names::collection_name(stem), Some(metadata.collection));
            seen += 1;
        }
        assert_eq!(seen, 16);
    }

    #[test]
    fn the_order_of_keys_and_their_types_stay() {
        let json = std::fs::read(format!("{GOLDEN}/orders.metadata.json")).unwrap();
        let metadata = Metadata::from_json(&json).unwrap();
        let zam = metadata.indexes.iter().find(|index| index.get_str("name").ok() == Some("zam")).unwrap();
        assert_eq!(*zam, rawdoc! { "v": 2, "key": { "z": 1, "a": -1, "m": 1 }, "name": "zam" });
        assert_eq!(metadata.kind.as_deref(), Some("collection"));
        assert!(!metadata.is_view() && !metadata.is_time_series());
        let json = std::fs::read(format!("{GOLDEN}/nested_view.metadata.json")).unwrap();
        assert!(Metadata::from_json(&json).unwrap().is_view());
    }

    #[test]
    fn what_would_be_read_as_something_else_is_not_written() {
        let mut metadata = Metadata::named("c".to_owned());
        assert_eq!(metadata.to_json().unwrap(), br#"{"indexes":[],"collectionName":"c"}"#);
        metadata.options = rawdoc! { "validator": { "x": { "$oid": "0102030405060708090a0b0c" } } };
        let error = metadata.to_json().unwrap_err();
        assert!(error.to_string().contains("options or indexes of c "), "{error}");
    }

    #[test]
    fn unknown_fields_are_passed_over_and_wrong_types_are_not() {
        let read =
            Metadata::from_json(br#"{"new":1,"uuid":"","indexes":null,"collectionName":"c"}"#).unwrap();
        assert_eq!((read.collection.as_str(), read.uuid, read.indexes.len()), ("c", None, 0));
        for json in
            [r#"{"indexes":{}}"#, r#"{"options":[1]}"#, r#"{"uuid":"x"}"#, r#"{"indexes":[1]}"#, "[]", ""]
        {
            assert!(Metadata::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn lists_of_documents_go_both_ways() {
        let documents = [rawdoc! { "name": "default", "n": 1 }, RawDocumentBuf::try_from(&doc! {}).unwrap()];
        let json = documents_to_json(&documents).unwrap();
        assert_eq!(json, br#"[{"name":"default","n":{"$numberInt":"1"}},{}]"#);
        assert_eq!(documents_from_json(&json).unwrap(), documents);
        assert_eq!(documents_to_json::<RawDocumentBuf>(&[]).unwrap(), b"[]");
    }
}
