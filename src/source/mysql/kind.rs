//! The kind `mysql` for the rest of the program.

use std::{path::Path, sync::Arc};

use super::{
    Mysql,
    config::{self, MysqlConfig},
    recovery, restore, selftest,
    verify::ScratchServers,
};
use crate::{
    azure::Engine,
    error::Result,
    settings::{DrillConfig, SourceSettings, reader::Reader},
    source::{
        Source,
        kind::{Kind, KindConfig, OwnPlaces},
        manifest::{self, Detail},
        recovery::{Commands, Opening, Piece},
        server::{self, ServerConfig},
        subject::Subjects,
        target::{RestoreTarget, WholeServer},
        verify::Verification,
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

    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)] {
        &[(&["mariadb", "percona"], "write \"mysql\": it backs up MySQL and MariaDB")]
    }

    fn read_config(&self, reader: &mut Reader<'_>, _own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>> {
        Some(Arc::new(config::read(reader)?))
    }

    fn packages(&self) -> &'static [&'static str] {
        &["mariadb-client"]
    }

    fn verification(&self) -> Verification {
        Verification::Restore(&ScratchServers)
    }

    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects {
        Subjects::Made(selftest::subjects(drill, dir, cancel))
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

    fn schemes(&self) -> &'static [&'static str] {
        &["mysql", "mariadb"]
    }

    fn target_of_url(
        &self,
        url: &str,
        configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn RestoreTarget>> {
        restore::by_url(url, configured)
    }

    fn whole_server(&self) -> Option<&'static dyn WholeServer> {
        Some(&restore::AllOfServer)
    }
}

impl KindConfig for MysqlConfig {
    fn kind(&self) -> &'static dyn Kind {
        &KIND
    }

    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>> {
        let Some(azure) = &self.server.azure else { return Ok(Box::new(Mysql::new(source, self)?)) };
        let config = self.clone();
        let one = move |source: &SourceSettings, host| {
            let config = Self { server: config.server.at(host), ..config.clone() };
            Ok(Box::new(Mysql::new(source, &config)?) as Box<dyn Source>)
        };
        server::on_azure(source, Engine::Mysql, azure, one)
    }

    fn server(&self) -> Option<&ServerConfig> {
        Some(&self.server)
    }

    fn opening(&self, variables: &str) -> Opening {
        recovery::opening(variables)
    }

    fn commands(&self, piece: &Piece<'_>, variables: &str) -> Commands {
        recovery::commands(piece, variables)
    }

    fn target(&self, item: &str, into: &str, cancel: &Cancel) -> Result<Box<dyn RestoreTarget>> {
        restore::on_own_server(self, item, into, cancel)
    }
}
