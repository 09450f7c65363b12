//! What the program asks of the kind `mysql`.

use crate::source::kind::Kind;

/// The kind `mysql`.
pub(in crate::source) struct MysqlKind;

/// The kind `mysql`.
pub(in crate::source) static KIND: MysqlKind = MysqlKind;

impl Kind for MysqlKind {
    fn name(&self) -> &'static str {
        "mysql"
    }
}
