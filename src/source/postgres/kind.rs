//! What the program asks of the kind `postgres`.

use crate::source::{
    kind::Kind,
    manifest::{self, Detail},
};

/// The kind `postgres`.
pub(in crate::source) struct PostgresKind;

/// The kind `postgres`.
pub(in crate::source) static KIND: PostgresKind = PostgresKind;

impl Kind for PostgresKind {
    fn name(&self) -> &'static str {
        "postgres"
    }
    fn detail_key(&self) -> &'static str {
        "postgres"
    }

    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Option<Box<dyn Detail>>, erased_serde::Error> {
        manifest::read_detail::<super::Detail>(json)
    }
}
