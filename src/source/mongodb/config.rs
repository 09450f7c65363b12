//! `kind = "mongodb"`: the connection to a MongoDB deployment and the selection of databases.

use crate::settings::{Patterns, SecretFile, reader::Reader};

/// How many collections are read at the same time by default.
const PARALLEL_COLLECTIONS: usize = 4;

/// A MongoDB deployment: a replica set, a sharded cluster or a single server.
#[derive(Debug, Clone, PartialEq)]
pub struct MongodbConfig {
    /// File with the connection string, `mongodb://` or `mongodb+srv://`, credentials included.
    pub uri_file: SecretFile,
    /// Databases to back up.
    pub databases: Patterns,
    /// Databases to leave out.
    pub exclude: Patterns,
    /// Whether `admin` is backed up too.
    pub include_system: bool,
    /// How many collections of a database are read at the same time, 1 to 16.
    pub parallel_collections: usize,
    /// How a consistent state of all collections is obtained.
    pub consistency: MongodbConsistency,
}

/// The required consistency of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MongodbConsistency {
    /// One point in time for all collections if the server supports it; otherwise the manifest says so.
    Auto,
    /// One point in time for all collections, or the item fails.
    Snapshot,
    /// Each collection is read without a snapshot.
    None,
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<MongodbConfig> {
    let uri_file = reader.secret_file("uri_file");
    reader.missing(
        "uri_file",
        "the path of a file that holds the connection string, mongodb://… or mongodb+srv://…",
    );
    let databases = reader.databases();
    let consistency = [
        ("auto", MongodbConsistency::Auto),
        ("snapshot", MongodbConsistency::Snapshot),
        ("none", MongodbConsistency::None),
    ];
    let parallel = reader.integer("parallel_collections", 1..=16).and_then(|count| count.try_into().ok());
    let exclude = reader.patterns("exclude").unwrap_or_default();
    let include_system = reader.boolean("include_system", false);
    let consistency = reader.choice("consistency", &consistency).unwrap_or(MongodbConsistency::Auto);
    Some(MongodbConfig {
        uri_file: uri_file?,
        databases,
        exclude,
        include_system,
        parallel_collections: parallel.unwrap_or(PARALLEL_COLLECTIONS),
        consistency,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::testing;

    #[test]
    fn a_mongodb_source_needs_only_its_connection_string() {
        let mongodb = testing::read("uri_file = \"u\"\n", read).unwrap();
        assert_eq!(mongodb.uri_file.to_string(), "/etc/tik/u");
        assert_eq!((mongodb.parallel_collections, mongodb.include_system), (4, false));
        assert_eq!(mongodb.consistency, MongodbConsistency::Auto);
        assert!(mongodb.databases.matched("any thing").is_some());
    }
}
