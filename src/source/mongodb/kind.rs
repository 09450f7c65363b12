//! What the program asks of the kind `mongodb`.

use crate::source::kind::Kind;

/// The kind `mongodb`.
pub(in crate::source) struct MongodbKind;

/// The kind `mongodb`.
pub(in crate::source) static KIND: MongodbKind = MongodbKind;

impl Kind for MongodbKind {
    fn name(&self) -> &'static str {
        "mongodb"
    }
}
