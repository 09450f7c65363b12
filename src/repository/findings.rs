//! The findings of the library's check, as types of ours. Only this module reads them.

use std::fmt;

use super::errors::brief;

/// A finding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A pack is in no index file: it is from a run that is in progress or was interrupted.
    NotInIndex,
    /// Damage.
    Damage(String),
    /// A harmless finding.
    Odd(String),
}

impl Finding {
    /// Converts a finding. The library's types of levels and findings are private; their debug forms are their names.
    pub(super) fn read(level: &impl fmt::Debug, finding: &(impl fmt::Debug + fmt::Display)) -> Self {
        let debug = format!("{finding:?}");
        let (name, fields) = debug.split_once([' ', '{', '(']).unwrap_or((&debug, ""));
        if ["PackNotReferenced", "HotPackNotReferenced"].contains(&name) {
            return Self::NotInIndex;
        }
        // Packs marked by a two-phase prune are unused, and the index need not list their content.
        let of_pack =
            ["PackSizeMismatchIndex", "HotPackSizeMismatchIndex", "NoPack", "NoHotPack"].contains(&name);
        let marked = of_pack && fields.contains("to_delete: true");
        let text = finding.to_string();
        let text =
            brief(&text.replace(" marked to delete: false", "").replace(" marked to-delete: false", ""));
        if !marked && format!("{level:?}") == "Error" { Self::Damage(text) } else { Self::Odd(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    enum Level {
        Warn,
        Error,
    }

    /// As the library's findings, of which some have these fields.
    #[derive(Debug)]
    #[allow(dead_code)] // only `Debug` reads the fields
    enum Found {
        PackNotReferenced { id: u8 },
        NoPack { id: u8, to_delete: bool },
        FileHasNoContent { file: &'static str },
    }

    impl fmt::Display for Found {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::PackNotReferenced { id } => write!(f, "pack {id} not referenced in index."),
                Self::NoPack { id, to_delete } => {
                    write!(f, "pack {id} marked to-delete: {to_delete} is not present! To repair: 'x'.")
                }
                Self::FileHasNoContent { file } => write!(f, "file {file:?} doesn't have a content"),
            }
        }
    }

    #[test]
    fn findings_are_told_apart_by_their_names() {
        let read = |level, found| Finding::read(&level, &found);
        assert_eq!(read(Level::Warn, Found::PackNotReferenced { id: 1 }), Finding::NotInIndex);
        let missing = |to_delete| read(Level::Error, Found::NoPack { id: 1, to_delete });
        assert_eq!(missing(false), Finding::Damage("pack 1 is not present!".to_owned()));
        assert_eq!(missing(true), Finding::Odd("pack 1 marked to-delete: true is not present!".to_owned()));
        // The name of a file decides nothing.
        let file = "not referenced in index, marked to-delete: true";
        assert!(matches!(read(Level::Error, Found::FileHasNoContent { file }), Finding::Damage(_)));
        assert!(matches!(read(Level::Warn, Found::FileHasNoContent { file }), Finding::Odd(_)));
    }
}
