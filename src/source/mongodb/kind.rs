//! Implementation of the kind `mongodb`.

use std::{path::Path, sync::Arc};

use super::{
    Mongodb,
    config::{self, MongodbConfig},
    connect::Params,
    recovery, restore, selftest,
    verify::ScratchServers,
};
use crate::{
    error::{Error, Result},
    settings::{DrillConfig, SecretFile, SourceSettings, reader::Reader},
    source::{
        Source,
        kind::{Kind, KindConfig, OwnPlaces},
        manifest::{self, Detail},
        recovery::{Commands, Opening, Piece},
        subject::Subjects,
        target::RestoreTarget,
        verify::Verification,
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

    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)] {
        &[(&["mongo"], "write \"mongodb\"")]
    }

    fn read_config(&self, reader: &mut Reader<'_>, _own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>> {
        Some(Arc::new(config::read(reader)?))
    }

    fn verification(&self) -> Verification {
        Verification::Restore(&ScratchServers)
    }

    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), selftest::subject(drill, dir, cancel))])
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

    fn target_of_url(
        &self,
        url: &str,
        _configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn RestoreTarget>> {
        restore::by_url(url)
    }
}

impl KindConfig for MongodbConfig {
    fn kind(&self) -> &'static dyn Kind {
        &KIND
    }

    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>> {
        Ok(Box::new(Mongodb::new(source, self)?))
    }

    fn secret_files(&self) -> Vec<&SecretFile> {
        vec![&self.uri_file]
    }

    fn unusable_content(&self) -> Vec<Error> {
        if self.uri_file.is_elsewhere() || self.uri_file.load().is_err() {
            return Vec::new();
        }
        Params::load(&self.uri_file).err().into_iter().collect()
    }

    fn opening(&self, variables: &str) -> Opening {
        recovery::opening(variables)
    }

    fn commands(&self, piece: &Piece<'_>, variables: &str) -> Commands {
        recovery::commands(piece, variables)
    }

    fn target(&self, _item: &str, into: &str, _cancel: &Cancel) -> Result<Box<dyn RestoreTarget>> {
        restore::on_own_server(self, into)
    }
}
