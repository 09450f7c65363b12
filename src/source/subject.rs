//! Subjects of the drill self-test: known content of each kind, in a server or directory created for the test, which the test
//! damages.

use super::{Source, manifest::Manifest};
use crate::{error::Result, stream::digest::Digest128};

/// The test subjects of a kind.
pub enum Subjects {
    /// The subjects; a subject that could not be created is an error.
    Made(Vec<Named>),
    /// None, for this reason: the self-test reports that the kind is not tested.
    Nothing(&'static str),
}

/// A subject and its name, for the report if it could not be created.
pub type Named = (String, Result<Box<dyn Subject>>);

/// A test subject that can be backed up, changed, and damaged.
pub trait Subject {
    /// Its name in the report.
    fn name(&self) -> String;

    /// The source that backs it up.
    fn source(&self) -> &dyn Source;

    /// Changes its content, so that a second backup differs from the first.
    ///
    /// # Errors
    /// The content could not be changed.
    fn change(&self) -> Result<()>;

    /// Damages to apply to a restored item: item, name, and statement to run.
    fn damages(&self) -> &'static [(Target, &'static str, &'static str)];

    /// The file with the main content in the item's snapshots.
    fn file(&self) -> &'static str;

    /// Another file whose content can be exchanged with the main one.
    fn other_file(&self) -> Option<&'static str> {
        None
    }

    /// Whether file permissions are part of the backup.
    fn has_permissions(&self) -> bool {
        false
    }

    /// Falsifies the manifest of the item: it records a wrong digest.
    fn falsify(&self, manifest: &mut Manifest) {
        let wrong = Digest128::of(b"wrong");
        manifest.objects.iter_mut().take(1).for_each(|object| object.digest = wrong);
    }

    /// Attacks on resources outside of the server's directory: a name, and a statement with the placeholders `{canary}`,
    /// `{marker}`, `{process}` and `{port}`.
    fn attacks(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Why no attacks are run.
    fn no_attacks(&self) -> Option<&'static str> {
        None
    }
}

/// The item that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Roles or users.
    Globals,
    /// The database, container or directory.
    Item,
}

/// Sample contents of equal length, which differ only in their bytes.
pub(in crate::source) fn sample(number: u8) -> Vec<u8> {
    (0..20_000_u32).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ number).collect()
}
