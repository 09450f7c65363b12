//! What the program asks of the kind `postgres`.

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
    ) -> erased_serde::Result<Option<Box<dyn Detail>>> {
        manifest::read_detail::<super::Detail>(json)
    }

    fn has_servers(&self, configured: &SourceKind) -> bool {
        matches!(configured, SourceKind::Postgres(configured) if configured.server.azure.is_some())
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["postgresql", "postgres"]
    }

    fn target_of_url(&self, url: &str, configured: Option<&SourceKind>) -> Result<Box<dyn RestoreTarget>> {
        restore::by_url(url, configured)
    }

    fn own_target(
        &self,
        configured: &SourceKind,
        item: &str,
        into: &str,
        cancel: &Cancel,
    ) -> Result<Box<dyn RestoreTarget>> {
        match configured {
            SourceKind::Postgres(configured) => restore::on_own_server(configured, item, into, cancel),
            _ => Err(Error::failed("the source is of another kind")),
        }
    }
}
