//! What the program asks of the kind `postgres`.

use crate::source::kind::Kind;

/// The kind `postgres`.
pub(in crate::source) struct PostgresKind;

/// The kind `postgres`.
pub(in crate::source) static KIND: PostgresKind = PostgresKind;

impl Kind for PostgresKind {
    fn name(&self) -> &'static str {
        "postgres"
    }
}
