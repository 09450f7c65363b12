//! Packs that the index lists and that are missing from the storage or have a wrong size.

use crate::{
    error::{Error, Result},
    output::plural,
};

/// Up to this many lost packs are treated as damage. If there are more, and they are the majority, the storage seems incomplete.
const FEW_LOST: usize = 8;

/// Numbers of missing and truncated packs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    /// Packs that are not in the storage.
    pub(super) missing: usize,
    /// Packs with another size than the index says.
    pub(super) misfits: usize,
    /// All packs in the index.
    pub(super) listed: usize,
}

impl Lost {
    /// The message about the packs.
    pub(super) fn text(self) -> String {
        let Self { missing, misfits, listed } = self;
        let of = |number: usize| format!("{number} of {listed} {} in the index", plural(listed, "pack"));
        let size = |number: usize| {
            let (has, it) = if number == 1 { ("has", "it") } else { ("have", "they") };
            format!("{has} another size than {it} should")
        };
        let gone =
            || format!("{} {} not in the storage", of(missing), if missing == 1 { "is" } else { "are" });
        match (missing, misfits) {
            (_, 0) => gone(),
            (0, _) => format!("{} {}", of(misfits), size(misfits)),
            _ => format!("{}, and {misfits} {}", gone(), size(misfits)),
        }
    }

    /// The problem that is reported until a check finds nothing.
    pub(super) fn error(self) -> Error {
        let packs = crate::output::count(self.packs(), "pack");
        let (was, it) = if self.packs() == 1 { ("was", "it") } else { ("were", "them") };
        Error::failed(format!("{packs} of the repository {was} lost or cut off, and older snapshots may need {it}")).hint(
            "run `tik-backup check`, which says which snapshots are incomplete; what the sources still have, this run has stored \
             again",
        )
    }

    fn packs(self) -> usize {
        self.missing + self.misfits
    }

    /// `it` or `they`.
    pub(super) fn they(self) -> &'static str {
        if self.packs() == 1 { "it" } else { "they" }
    }

    /// `it` or `them`.
    pub(super) fn them(self) -> &'static str {
        if self.packs() == 1 { "it" } else { "them" }
    }

    /// `it is` or `they are`.
    pub(super) fn they_are(self) -> &'static str {
        if self.packs() == 1 { "it is" } else { "they are" }
    }

    /// Fails if so many packs are lost that the storage is probably incomplete: more than half of many packs, or all of a few
    /// although there are snapshots, which need some of them.
    pub(super) fn require_most(self, has_snapshots: bool) -> Result<()> {
        let none_left = has_snapshots && self.missing > 0 && self.missing == self.listed;
        if !none_left && (self.packs() <= FEW_LOST || self.packs() * 2 <= self.listed) {
            return Ok(());
        }
        Err(Error::repository(self.text()).hint(
            "is the storage mounted completely? Nothing was written or removed; if the packs really are lost, \
             `tik-backup repair index --force` removes them from the index",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(missing: usize, misfits: usize, listed: usize) -> Lost {
        Lost { missing, misfits, listed }
    }

    #[test]
    fn one_pack_and_several_are_named_in_the_right_number() {
        for (of, text) in [
            (lost(1, 0, 5), "1 of 5 packs in the index is not in the storage"),
            (lost(2, 0, 5), "2 of 5 packs in the index are not in the storage"),
            (lost(1, 0, 1), "1 of 1 pack in the index is not in the storage"),
            (lost(0, 1, 5), "1 of 5 packs in the index has another size than it should"),
            (
                lost(1, 2, 5),
                "1 of 5 packs in the index is not in the storage, and 2 have another size than they should",
            ),
        ] {
            assert_eq!(of.text(), text);
        }
    }

    #[test]
    fn most_of_many_packs_or_all_of_few_look_like_a_storage_that_is_not_whole() {
        for whole in [lost(0, 0, 0), lost(1, 0, 2), lost(4, 4, 9), lost(0, 3, 3), lost(9, 0, 18)] {
            assert!(whole.require_most(true).is_ok(), "{whole:?}");
        }
        for not in [lost(3, 0, 3), lost(1, 0, 1), lost(9, 0, 17), lost(5, 4, 17)] {
            assert!(not.require_most(true).is_err(), "{not:?}");
        }
        // A prune that was not ours may have removed all packs of a repository without snapshots.
        assert!(lost(3, 0, 3).require_most(false).is_ok());
        assert!(lost(9, 0, 17).require_most(false).is_err());
    }
}
