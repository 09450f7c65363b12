//! The selection of files of a snapshot to write into a directory.

use std::{ffi::OsString, path::Path};

use super::report::FolderReport;
use crate::{
    error::{Error, Result},
    output::paths::meant,
    source::{
        layout::{CONTENT, Layout, Paths},
        manifest::{Manifest, Omitted},
        select::{Selection, Survey},
    },
    stream::{
        cancel::Cancel,
        files::{Files, NodeKind},
    },
};

/// The selected files. Paths are those in the snapshot.
pub(in crate::restore) enum Choice {
    /// Everything.
    All,
    /// Files of a directory, by name.
    Names(Selection),
    /// Blobs or files of a share.
    Paths(Paths),
}

impl Choice {
    /// The selection that these arguments make in a snapshot of this layout; everything if there are none.
    ///
    /// # Errors
    /// One of them matches nothing in the snapshot.
    pub(in crate::restore) fn of(
        files: &dyn Files,
        layout: Layout,
        item: (&str, &str),
        patterns: &[OsString],
        cancel: &Cancel,
    ) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(Self::All);
        }
        let manifest = Manifest::of(files, item.0, item.1);
        if let Layout::Listed(list) = layout {
            return Paths::of(list, &manifest?, files, patterns, cancel).map(Self::Paths);
        }
        // The files can be restored even without a readable manifest.
        let omitted = manifest.map(|manifest| manifest.omitted).unwrap_or_default();
        let survey = survey(files, patterns, in_directory, &omitted, cancel)?;
        survey.finish(&format!("{}/{}", item.0, item.1)).map(Self::Names)
    }

    /// Whether nothing is left out.
    pub(in crate::restore) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether the entry at this path is selected.
    pub(super) fn takes(&self, path: &Path, folder: bool) -> bool {
        match self {
            Self::All => true,
            Self::Names(selection) => in_directory(path).is_some_and(|name| selection.takes(name, folder)),
            Self::Paths(paths) => paths.takes(path),
        }
    }

    /// Whether this directory may contain selected entries.
    pub(super) fn enters(&self, folder: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Names(selection) => {
                in_directory(folder).is_some_and(|name| name.is_empty() || selection.enters(name))
            }
            Self::Paths(paths) => paths.enters(folder),
        }
    }

    /// Whether a blob or file of this name, as the service lists it, is selected.
    pub(in crate::restore) fn takes_name(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(selection) => selection.takes(name.as_bytes(), false),
            Self::Paths(paths) => paths.takes_name(name),
        }
    }

    /// Whether this omitted object is selected.
    pub(in crate::restore) fn concerns(&self, omitted: &Omitted) -> bool {
        match self {
            Self::All => true,
            Self::Names(selection) => concerns(selection, omitted),
            Self::Paths(paths) => paths.concerns(&omitted.name),
        }
    }

    /// Compares the written files with the list beside the contents.
    pub(super) fn check(&self, report: &FolderReport) -> Result<()> {
        match self {
            Self::Paths(paths) if (paths.files, paths.bytes) != (report.files, report.bytes) => {
                Err(Error::failed(format!(
                    "{} of {} written, but the snapshot lists {} of {}",
                    crate::output::count(report.files, "file"),
                    crate::output::count(report.bytes, "byte"),
                    crate::output::count(paths.files, "file"),
                    crate::output::count(paths.bytes, "byte")
                ))
                .hint("check the repository: tik-backup check --read-data-subset 100%"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether this omitted object of a directory is selected.
pub(in crate::restore) fn concerns(selection: &Selection, omitted: &Omitted) -> bool {
    meant(&omitted.name).iter().any(|name| selection.concerns(name))
}

/// The name in the directory that was backed up, which is empty for the directory itself; `None` if the path is not part of it.
pub(in crate::restore) fn in_directory(path: &Path) -> Option<&[u8]> {
    path.strip_prefix(CONTENT).ok().map(|below| below.as_os_str().as_encoded_bytes())
}

/// Adds the names of all entries of a snapshot; `name_of` returns them.
pub(in crate::restore) fn survey(
    files: &dyn Files,
    patterns: &[OsString],
    name_of: fn(&Path) -> Option<&[u8]>,
    omitted: &[Omitted],
    cancel: &Cancel,
) -> Result<Survey> {
    let mut survey = Survey::new(patterns);
    for omitted in omitted {
        meant(&omitted.name).iter().for_each(|name| survey.lacks(name, &omitted.reason));
    }
    // The selection does not change during the search.
    let fresh = Survey::new(patterns);
    let enters = |folder: &Path| name_of(folder).is_some_and(|name| name.is_empty() || fresh.enters(name));
    files.walk_into(&enters, &mut |node| {
        cancel.check()?;
        if let Some(name) = name_of(node.path)
            && !name.is_empty()
        {
            survey.see(name, node.kind == NodeKind::Folder);
        }
        Ok(())
    })?;
    Ok(survey)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{output::paths::shown, source::directory::testing::Memory};

    #[test]
    fn what_the_snapshot_lacks_is_known_by_its_name_however_odd_it_is() {
        let omitted = Omitted {
            kind: "folder".to_owned(),
            name: shown(Path::new("a\nb")),
            reason: "Permission denied".to_owned(),
            definition: None,
        };
        let files = Memory::default();
        let survey = |pattern: &str| {
            let omitted = [omitted.clone()];
            survey(&files, &[pattern.into()], in_directory, &omitted, &Cancel::new()).unwrap()
        };
        for pattern in ["a\nb", "a\nb/below", "a?b"] {
            let error = survey(pattern).finish("disk/data").unwrap_err().to_string();
            assert!(error.contains("the snapshot lacks "), "{error}");
            assert!(error.contains("a\\nb") && error.contains("(Permission denied)"), "{error}");
            let listed = survey(pattern).finish_listing("disk/data", true).unwrap();
            assert!(concerns(&listed, &omitted), "{pattern:?}");
        }
        assert!(concerns(&survey(".").finish("disk/data").unwrap(), &omitted));
        assert!(survey("a").finish("disk/data").is_err());
    }
}
