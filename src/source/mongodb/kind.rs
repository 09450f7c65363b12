//! What the program asks of the kind `mongodb`.

use crate::source::{
    kind::Kind,
    manifest::{self, Detail},
};

/// The kind `mongodb`.
pub(in crate::source) struct MongodbKind;

/// The kind `mongodb`.
pub(in crate::source) static KIND: MongodbKind = MongodbKind;

impl Kind for MongodbKind {
    fn name(&self) -> &'static str {
        "mongodb"
    }
    fn detail_key(&self) -> &'static str {
        "mongodb"
    }

    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Option<Box<dyn Detail>>, erased_serde::Error> {
        manifest::read_detail::<super::Detail>(json)
    }
}
