//! What the program asks of the kind `mysql`.

use crate::source::{
    kind::Kind,
    manifest::{self, Detail},
};

/// The kind `mysql`.
pub(in crate::source) struct MysqlKind;

/// The kind `mysql`.
pub(in crate::source) static KIND: MysqlKind = MysqlKind;

impl Kind for MysqlKind {
    fn name(&self) -> &'static str {
        "mysql"
    }
    fn detail_key(&self) -> &'static str {
        "mysql"
    }

    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Option<Box<dyn Detail>>, erased_serde::Error> {
        manifest::read_detail::<super::Detail>(json)
    }
}
