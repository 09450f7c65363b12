//! A directory to be damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Detail, Directory, config::DirectoryConfig};
use crate::{
    error::{Error, Result},
    source::{
        Source,
        manifest::Manifest,
        subject::{Subject, Target, sample},
        verify::scratch_source,
    },
    stream::digest::Digest128,
};

struct Folder {
    source: Directory,
    path: PathBuf,
}

/// A directory with a few files.
pub(super) fn folder(dir: &Path) -> Result<Box<dyn Subject>> {
    let path = dir.join("folder");
    let failed = |error| Error::from_io("cannot write the files of the self-test", error);
    fs::create_dir_all(path.join("sub")).map_err(failed)?;
    fs::write(path.join("one"), sample(1)).map_err(failed)?;
    fs::write(path.join("sub/two"), sample(2)).map_err(failed)?;
    std::os::unix::fs::symlink("one", path.join("link")).map_err(failed)?;
    let config = DirectoryConfig::new(vec![path.clone()]);
    let source = Directory::new(&scratch_source(), &config)?;
    Ok(Box::new(Folder { source, path }))
}

impl Subject for Folder {
    fn name(&self) -> String {
        "directory".to_owned()
    }

    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn change(&self) -> Result<()> {
        fs::write(self.path.join("one"), sample(3))
            .map_err(|error| Error::from_io("cannot write the files of the self-test", error))
    }

    fn damages(&self) -> &'static [(Target, &'static str, &'static str)] {
        &[]
    }

    fn file(&self) -> &'static str {
        "files/one"
    }

    fn other_file(&self) -> Option<&'static str> {
        Some("files/sub/two")
    }

    fn has_permissions(&self) -> bool {
        true
    }

    fn falsify(&self, manifest: &mut Manifest) {
        let wrong = Digest128::of(b"wrong");
        manifest.detail_mut::<Detail>().into_iter().for_each(|detail| detail.digest = wrong);
    }
}
