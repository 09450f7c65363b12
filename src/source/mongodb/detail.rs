//! The manifest of a MongoDB database: the part specific to this kind of source.

use mongodb::bson::{RawDocument, Timestamp};
use serde::{Deserialize, Serialize};

use super::connect::Topology;
use crate::{
    error::{Error, Result},
    source::{kind::Kind, manifest},
    stream::digest::{Digest128, PieceHasher},
};

/// MongoDB's part of a manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detail {
    /// The topology of the deployment.
    pub topology: Topology,
    /// The feature compatibility version, if the server reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_compatibility: Option<String>,
    /// The cluster time of all collections; absent if they were read without a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<SnapshotTime>,
    /// Collections, views and time series in the order of their names.
    pub collections: Vec<Collection>,
}

impl manifest::Detail for Detail {
    fn kind(&self) -> &'static dyn Kind {
        &super::kind::KIND
    }

    fn boxed(&self) -> Box<dyn manifest::Detail> {
        Box::new(self.clone())
    }

    fn content(&self, visit: &mut dyn FnMut(&dyn erased_serde::Serialize)) {
        visit(&self.collections);
    }
}

/// A cluster time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTime {
    /// Seconds since 1970.
    pub time: u32,
    /// Number within the second.
    pub increment: u32,
}

impl From<Timestamp> for SnapshotTime {
    fn from(at: Timestamp) -> Self {
        Self { time: at.time, increment: at.increment }
    }
}

/// A collection, view or time series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    #[serde(rename = "type")]
    pub kind: String,
    /// UUID in hex, as the server has it; views have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Path of the file with options and indexes.
    pub metadata: String,
    /// Path of the file with the documents; views have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Digest of the options (of a view: its definition), see [`spec_digest`].
    pub options: Digest128,
    /// Indexes in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    /// Atlas Search indexes in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search_indexes: Vec<Index>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Index {
    /// Name.
    pub name: String,
    /// Digest of the definition, see [`spec_digest`].
    pub digest: Digest128,
}

impl Index {
    /// An index as `listIndexes` describes it. The name space in it (servers before 4.4) is not part of its definition.
    ///
    /// # Errors
    /// The description has no name or is not valid BSON.
    pub fn of(spec: &RawDocument) -> Result<Self> {
        Ok(Self { name: name_of(spec)?, digest: spec_digest(spec, |key| key != "ns")? })
    }

    /// An Atlas Search index as `$listSearchIndexes` describes it. Only name, type and definition are compared: the rest is
    /// its build status.
    ///
    /// # Errors
    /// The description has no name or is not valid BSON.
    pub fn of_search(spec: &RawDocument) -> Result<Self> {
        let counts = |key: &str| matches!(key, "name" | "type" | "latestDefinition");
        Ok(Self { name: name_of(spec)?, digest: spec_digest(spec, counts)? })
    }
}

/// Digest of those fields of a definition that `counts` chooses. The order of the fields does not matter; that of
/// fields within them does, as in the keys of an index.
///
/// # Errors
/// The definition is not valid BSON.
pub fn spec_digest(spec: &RawDocument, counts: impl Fn(&str) -> bool) -> Result<Digest128> {
    let mut fields = Vec::new();
    for field in spec {
        let (key, value) = field.map_err(|error| invalid(&error))?;
        if counts(key.as_str()) {
            let mut alone = mongodb::bson::RawDocumentBuf::new();
            alone.append(key, value);
            fields.push(alone);
        }
    }
    let mut sum = PieceHasher::new();
    fields.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    fields.iter().for_each(|field| sum.push(field.as_bytes()));
    Ok(sum.finish(&[]))
}

fn name_of(spec: &RawDocument) -> Result<String> {
    spec.get_str("name").map(str::to_owned).map_err(|error| invalid(&error))
}

fn invalid(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::failed("the server sent an invalid description of a collection").because(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mongodb::bson::{RawDocumentBuf, doc};

    fn index(spec: mongodb::bson::Document) -> Index {
        Index::of(&RawDocumentBuf::try_from(&spec).unwrap()).unwrap()
    }

    #[test]
    fn the_order_of_fields_does_not_matter_but_that_of_keys_does() {
        let one = index(doc! { "v": 2, "key": { "a": 1, "b": -1 }, "name": "x" });
        assert_eq!(one.name, "x");
        assert_eq!(one, index(doc! { "name": "x", "key": { "a": 1, "b": -1 }, "v": 2, "ns": "shop.orders" }));
        assert_ne!(one, index(doc! { "v": 2, "key": { "b": -1, "a": 1 }, "name": "x" }));
        assert_ne!(one, index(doc! { "v": 2, "key": { "a": 1, "b": -1 }, "name": "x", "unique": true }));
        assert_ne!(one, index(doc! { "v": 2, "key": { "a": 1, "b": 1 }, "name": "x" }));
        assert!(Index::of(&RawDocumentBuf::new()).is_err());
    }

    #[test]
    fn how_far_a_search_index_is_built_does_not_count() {
        let of = |spec: mongodb::bson::Document| {
            Index::of_search(&RawDocumentBuf::try_from(&spec).unwrap()).unwrap()
        };
        let built = of(doc! { "id": "1", "name": "s", "status": "READY", "latestDefinition": { "m": 1 } });
        assert_eq!(built, of(doc! { "name": "s", "status": "BUILDING", "latestDefinition": { "m": 1 } }));
        assert_ne!(built, of(doc! { "name": "s", "latestDefinition": { "m": 2 } }));
    }
}
