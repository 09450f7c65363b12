//! The kind `postgres` for the rest of the program.

use std::{path::Path, sync::Arc};

use super::{
    Postgres,
    config::{self, PostgresConfig},
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
        target::RestoreTarget,
        verify::Verification,
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

    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)] {
        &[(&["postgresql", "pg", "psql", "pgsql", "timescaledb"], "write \"postgres\"")]
    }

    fn read_config(&self, reader: &mut Reader<'_>, _own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>> {
        Some(Arc::new(config::read(reader)?))
    }

    fn packages(&self) -> &'static [&'static str] {
        &["postgresql-client"]
    }

    fn verification(&self) -> Verification {
        Verification::Restore(&ScratchServers)
    }

    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), selftest::subject(drill, dir, cancel))])
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

    fn schemes(&self) -> &'static [&'static str] {
        &["postgresql", "postgres"]
    }

    fn target_of_url(
        &self,
        url: &str,
        configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn RestoreTarget>> {
        restore::by_url(url, configured)
    }
}

impl KindConfig for PostgresConfig {
    fn kind(&self) -> &'static dyn Kind {
        &KIND
    }

    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>> {
        let Some(azure) = &self.server.azure else { return Ok(Box::new(Postgres::new(source, self)?)) };
        let config = self.clone();
        let one = move |source: &SourceSettings, host| {
            let config = Self { server: config.server.at(host), ..config.clone() };
            Ok(Box::new(Postgres::new(source, &config)?) as Box<dyn Source>)
        };
        server::on_azure(source, Engine::Postgres, azure, one)
    }

    fn server(&self) -> Option<&ServerConfig> {
        Some(&self.server)
    }

    fn opening(&self, variables: &str) -> Opening {
        recovery::opening(&self.server, variables)
    }

    fn commands(&self, piece: &Piece<'_>, _variables: &str) -> Commands {
        recovery::commands(&self.server, piece)
    }

    fn target(&self, item: &str, into: &str, cancel: &Cancel) -> Result<Box<dyn RestoreTarget>> {
        restore::on_own_server(self, item, into, cancel)
    }
}
