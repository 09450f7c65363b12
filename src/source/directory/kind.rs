//! Implementation of the kind `directory`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Directory,
    config::{self, DirectoryConfig},
    recovery, selftest,
    verify::Contents,
};
use crate::{
    error::{Error, Result},
    settings::{DrillConfig, SourceSettings, reader::Reader},
    source::{
        Source,
        kind::{Kind, KindConfig, OwnPlaces},
        layout::Layout,
        manifest::{self, Detail},
        recovery::{Commands, Opening, Piece},
        subject::Subjects,
        target::RestoreTarget,
        verify::Verification,
    },
    stream::cancel::Cancel,
};

/// The kind `directory`.
pub(in crate::source) struct DirectoryKind;

/// The kind `directory`.
pub(in crate::source) static KIND: DirectoryKind = DirectoryKind;

impl Kind for DirectoryKind {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)] {
        &[
            (
                &["folder", "folders", "file", "files", "dir", "path", "filesystem", "local", "disk"],
                "write \"directory\"",
            ),
            (
                &["sqlite", "sqlite3", "redis"],
                "back up a copy that its own backup command makes, with kind \"directory\": its files change while it runs",
            ),
        ]
    }

    fn read_config(&self, reader: &mut Reader<'_>, own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>> {
        let mut directory = config::read(reader)?;
        config::protect(&mut directory, own, reader);
        Some(Arc::new(directory))
    }

    fn verification(&self) -> Verification {
        Verification::ReadBack(&Contents)
    }

    fn self_test_subjects(&self, _drill: &DrillConfig, dir: &Path, _cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), selftest::folder(dir))])
    }

    fn detail_key(&self) -> &'static str {
        "directory"
    }

    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Option<Box<dyn Detail>>> {
        manifest::read_detail::<super::Detail>(json)
    }

    fn layout(&self) -> Layout {
        Layout::Tree
    }
}

impl KindConfig for DirectoryConfig {
    fn kind(&self) -> &'static dyn Kind {
        &KIND
    }

    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>> {
        Ok(Box::new(Directory::new(source, self)?))
    }

    fn check_places(&self, key_path: &dyn Fn(&str) -> String) -> Result<()> {
        config::check_places(self, key_path)
    }

    fn folders(&self) -> Option<Vec<PathBuf>> {
        // The matches of a pattern are inside the directory before its first pattern.
        Some(self.paths.iter().map(|path| Self::base(path)).collect())
    }

    fn opening(&self, _variables: &str) -> Opening {
        recovery::opening(&self.paths)
    }

    fn commands(&self, piece: &Piece<'_>, _variables: &str) -> Commands {
        recovery::commands(piece)
    }

    fn target(&self, _item: &str, _into: &str, _cancel: &Cancel) -> Result<Box<dyn RestoreTarget>> {
        Err(Error::usage("a directory is restored with --to DIR"))
    }
}
