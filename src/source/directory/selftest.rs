//! A folder, and a container of blobs, to be damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::{Subject, Target};
use crate::{
    config::{DirectoryConfig, SourceKind},
    drill::prove::scratch_source,
    error::{Error, Result},
    source::{Discovery, Item, Source, azure, directory::Directory, manifest::Manifest},
    stream::{cancel::Cancel, sink::Sink},
};

/// Files of equal length, so that nothing but their content tells them apart.
fn content(number: u8) -> Vec<u8> {
    (0..20_000_u32).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ number).collect()
}

struct Folder {
    source: Directory,
    path: PathBuf,
}

/// A folder with a few files.
pub(super) fn folder(dir: &Path) -> Result<Box<dyn Subject>> {
    let path = dir.join("folder");
    let failed = |error| Error::from_io("cannot write the files of the self-test", error);
    fs::create_dir_all(path.join("sub")).map_err(failed)?;
    fs::write(path.join("one"), content(1)).map_err(failed)?;
    fs::write(path.join("sub/two"), content(2)).map_err(failed)?;
    std::os::unix::fs::symlink("one", path.join("link")).map_err(failed)?;
    let config = DirectoryConfig::new(vec![path.clone()]);
    let source = Directory::new(&scratch_source(SourceKind::Directory(config.clone())), &config)?;
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
        fs::write(self.path.join("one"), content(3))
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
}

/// A container that exists nowhere.
struct Container {
    blobs: Mutex<Vec<(String, Vec<u8>)>>,
}

/// A container with a few blobs.
pub(super) fn container() -> Result<Box<dyn Subject>> {
    let blobs = vec![("one".to_owned(), content(1)), ("sub/two".to_owned(), content(2))];
    Ok(Box::new(Container { blobs: Mutex::new(blobs) }))
}

impl Source for Container {
    fn name(&self) -> &str {
        "drill"
    }

    fn kind(&self) -> &'static str {
        azure::KIND
    }

    fn discover(&self, _: &Cancel) -> Result<Discovery> {
        let item = Item { name: "account/container".to_owned(), estimate: None, problem: None };
        Ok(Discovery { items: vec![item], ..Discovery::default() })
    }

    fn dump(&self, _: &Item, sink: &dyn Sink, _: &Cancel) -> Result<Manifest> {
        let blobs = self.blobs.lock();
        azure::sample::store("drill", "account", "container", &blobs, sink)
    }
}

impl Subject for Container {
    fn name(&self) -> String {
        azure::KIND.to_owned()
    }

    fn source(&self) -> &dyn Source {
        self
    }

    fn change(&self) -> Result<()> {
        let mut blobs = self.blobs.lock();
        blobs.iter_mut().take(1).for_each(|(_, data)| *data = content(3));
        Ok(())
    }

    fn damages(&self) -> &'static [(Target, &'static str, &'static str)] {
        &[]
    }

    fn file(&self) -> &'static str {
        "blobs/one"
    }

    fn other_file(&self) -> Option<&'static str> {
        Some("blobs/sub/two")
    }
}
