//! What the program asks of the kind `mysql`.

use super::restore;
use crate::{
    config::SourceKind,
    error::{Error, Result},
    source::{
        kind::Kind,
        manifest::{self, Detail},
        target::{RestoreTarget, WholeServer},
    },
    stream::cancel::Cancel,
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
    ) -> erased_serde::Result<Option<Box<dyn Detail>>> {
        manifest::read_detail::<super::Detail>(json)
    }

    fn has_servers(&self, configured: &SourceKind) -> bool {
        matches!(configured, SourceKind::Mysql(configured) if configured.server.azure.is_some())
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["mysql", "mariadb"]
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
            SourceKind::Mysql(configured) => restore::on_own_server(configured, item, into, cancel),
            _ => Err(Error::failed("the source is of another kind")),
        }
    }

    fn whole_server(&self) -> Option<&'static dyn WholeServer> {
        Some(&restore::AllOfServer)
    }
}
