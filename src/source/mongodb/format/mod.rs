//! The files of a dump, as stock mongodump lays them out: `<database>/<collection>.bson` with the documents one after
//! the other, and `<database>/<collection>.metadata.json` with options and indexes.

pub mod extjson;
pub mod metadata;
pub mod names;
pub mod split;
