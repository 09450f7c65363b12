//! What a self-test of drills damages: known content of each kind, in a server or folder that is made for it.

use super::{Source, manifest::Manifest};
use crate::{error::Result, stream::digest::Digest128};

/// What a kind has for a self-test.
pub enum Subjects {
    /// These; one that could not be made says why.
    Made(Vec<Named>),
    /// None, for this reason: the self-test says that the kind is not tested.
    Nothing(&'static str),
}

/// A subject and its name, which its report has if it could not be made.
pub type Named = (String, Result<Box<dyn Subject>>);

/// Something that can be backed up, changed, and damaged.
pub trait Subject {
    /// What it is in the report.
    fn name(&self) -> String;

    /// To back it up.
    fn source(&self) -> &dyn Source;

    /// Makes today of yesterday.
    ///
    /// # Errors
    /// It could not be changed.
    fn change(&self) -> Result<()>;

    /// Damages that are done to a restored item: a name, and what to run.
    fn damages(&self) -> &'static [(Target, &'static str, &'static str)];

    /// The file in the snapshots of the item that holds the most of it.
    fn file(&self) -> &'static str;

    /// Another file, where contents may be exchanged.
    fn other_file(&self) -> Option<&'static str> {
        None
    }

    /// Whether its files have permissions, which are a part of the backup.
    fn has_permissions(&self) -> bool {
        false
    }

    /// Makes the manifest of the item a wrong one: it says that something had another content.
    fn falsify(&self, manifest: &mut Manifest) {
        let wrong = Digest128::of(b"wrong");
        manifest.objects.iter_mut().take(1).for_each(|object| object.digest = wrong);
    }

    /// Attacks on what is outside of the server's folder: a name, and a statement with `{canary}`, `{marker}`, `{process}`,
    /// `{port}` in the places of what is attacked.
    fn attacks(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Why a server is not attacked.
    fn no_attacks(&self) -> Option<&'static str> {
        None
    }
}

/// To which item something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Roles or users.
    Globals,
    /// The database, container or folder.
    Item,
}

/// Contents of equal length, so that nothing but their bytes tells them apart.
pub(in crate::source) fn sample(number: u8) -> Vec<u8> {
    (0..20_000_u32).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ number).collect()
}
