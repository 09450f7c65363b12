//! What the program asks of the kind `mongodb`.

use super::restore;
use crate::{
    config::SourceKind,
    error::{Error, Result},
    source::{
        kind::Kind,
        manifest::{self, Detail},
        target::RestoreTarget,
    },
    stream::cancel::Cancel,
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
    ) -> erased_serde::Result<Option<Box<dyn Detail>>> {
        manifest::read_detail::<super::Detail>(json)
    }

    fn rows_and_tables(&self) -> (&'static str, &'static str) {
        ("document", "collection")
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["mongodb", "mongodb+srv"]
    }

    fn target_of_url(&self, url: &str, _configured: Option<&SourceKind>) -> Result<Box<dyn RestoreTarget>> {
        restore::by_url(url)
    }

    fn own_target(
        &self,
        configured: &SourceKind,
        _item: &str,
        into: &str,
        _cancel: &Cancel,
    ) -> Result<Box<dyn RestoreTarget>> {
        match configured {
            SourceKind::Mongodb(configured) => restore::on_own_server(configured, into),
            _ => Err(Error::failed("the source is of another kind")),
        }
    }
}
