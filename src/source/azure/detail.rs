//! The manifest of a container or share.

use serde::{Deserialize, Serialize};

use crate::source::{exclude::Rule, kind::Kind, manifest};

/// The maximum number of names that are written out; the others are counted.
const NAMES: usize = 20;

/// The part specific to Azure storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Storage account.
    pub account: String,
    /// Address of the service, as the account names it.
    pub endpoint: String,
    /// Name of the blob container, or …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// … of the file share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Whether the account has a hierarchical namespace.
    #[serde(default)]
    pub hierarchical: bool,
    /// Blobs or files that the service listed.
    pub listed: u64,
    /// The number of those whose content is in the snapshot.
    pub stored: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Those among them whose content was reused from the previous snapshot.
    pub unchanged: u64,
    /// Bytes that were downloaded for the others.
    pub downloaded_bytes: u64,
    /// Directories that the service listed.
    pub directories: u64,
    /// Blobs or files that could not be read, those in the archive tier included: not protected.
    #[serde(default)]
    pub omitted: u64,
    /// The rules of `exclude`, each with the number of excluded entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Rule>,
    /// Blobs excluded by a rule, without directories.
    #[serde(default)]
    pub excluded_blobs: u64,
    /// Blobs that cannot be read because they are in the archive tier, and were never read before: not protected.
    pub archived: Named,
    /// Bytes of these.
    pub archived_bytes: u64,
    /// Blobs that were deleted after they were listed.
    pub vanished: Named,
    /// Blobs that changed while they were read, and were read again.
    pub changed: Named,
    /// Blobs whose content, read twice, does not match the MD5 recorded by the service.
    pub md5_differs: Named,
}

impl manifest::Detail for Detail {
    fn kind(&self) -> &'static dyn Kind {
        &super::kind::KIND
    }

    fn boxed(&self) -> Box<dyn manifest::Detail> {
        Box::new(self.clone())
    }

    fn is_of_files(&self) -> bool {
        true
    }

    fn files(&self) -> Option<u64> {
        (self.share.is_some() || self.hierarchical).then_some(self.stored)
    }
}

/// A count, and the first names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// How many.
    pub count: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
}

impl Named {
    /// Counts one more.
    pub(super) fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < NAMES {
            self.first.push(name.to_owned());
        }
    }

    /// The names in a sentence.
    fn names(&self) -> String {
        let shown: Vec<String> = self.first.iter().take(3).map(|name| format!("{name:?}")).collect();
        let more = if self.count > shown.len() as u64 { ", …" } else { "" };
        format!("{}{more}", shown.join(", "))
    }
}

impl Detail {
    /// Notes for the operator.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let plural = |count: u64| if count == 1 { "blob" } else { "blobs" };
        let Named { count, .. } = self.archived;
        if count > 0 {
            notes.push(format!(
                "NOT PROTECTED: {count} {} ({}) in the archive tier cannot be read, and no snapshot has their content: {}; \
                 move them to another tier to have them backed up, or exclude them",
                plural(count),
                crate::output::size(self.archived_bytes),
                self.archived.names()
            ));
        }
        if self.stored == 0 && self.excluded.iter().any(|rule| rule.entries > 0) && self.omitted == 0 {
            notes.push("NOTHING of this item is in the backup: `exclude` matches everything".to_owned());
        }
        if self.md5_differs.count > 0 {
            let count = self.md5_differs.count;
            let what = if self.share.is_some() { "files" } else { plural(count) };
            notes.push(format!(
                "the content of {count} {what} does not match the MD5 recorded by the service: {}; stored as read",
                self.md5_differs.names()
            ));
        }
        if self.vanished.count > 0 {
            let count = self.vanished.count;
            let were = if count == 1 { "was" } else { "were" };
            notes.push(format!(
                "{count} {} {were} deleted while the container was read: {}",
                plural(count),
                self.vanished.names()
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blob_was_and_two_were_deleted() {
        let mut detail = Detail::default();
        detail.vanished.add("a");
        assert_eq!(detail.notes(), ["1 blob was deleted while the container was read: \"a\""]);
        detail.vanished.add("b");
        assert_eq!(detail.notes(), ["2 blobs were deleted while the container was read: \"a\", \"b\""]);
    }
}
