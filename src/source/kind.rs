//! The kinds of sources. What the rest of the program needs to know of a kind, it asks through [`Kind`], and what it needs to
//! know of a configured source through [`KindConfig`]; a new kind is a folder beside the others and one line in [`KINDS`].

use std::{
    any::Any,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Source,
    layout::Layout,
    manifest::Detail,
    recovery::{Commands, Opening, Piece},
    subject::Subjects,
    target::{RestoreTarget, WholeServer},
    verify::Verification,
};
use crate::{
    error::{Error, Result},
    settings::{DrillConfig, RepositoryLocation, SecretFile, SourceSettings, reader::Reader},
    stream::cancel::Cancel,
};

/// A kind of source.
pub trait Kind: Sync {
    /// Its name, as written in the configuration and in manifests.
    fn name(&self) -> &'static str;

    /// Names under which people look for it, in lower case with `-` between words, each list with what to write instead.
    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)];

    /// Reads the keys of this kind. Problems are noted in the reader; `None` if something is missing that is needed.
    fn read_config(&self, reader: &mut Reader<'_>, own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>>;

    /// The key under which its part stands in `manifest.json`. Neither another kind nor a field of all manifests has it.
    fn detail_key(&self) -> &'static str;

    /// Reads its part of `manifest.json`, which earlier versions may have written.
    ///
    /// # Errors
    /// It is not what this kind writes.
    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Option<Box<dyn Detail>>>;

    /// How the names of what was backed up stand in its snapshots.
    fn layout(&self) -> Layout {
        Layout::Dump
    }

    /// What it calls rows, and what they stand in.
    fn rows_and_tables(&self) -> (&'static str, &'static str) {
        ("row", "table")
    }

    /// The schemes of URLs that name targets of this kind.
    fn schemes(&self) -> &'static [&'static str] {
        &[]
    }

    /// The target that a URL of one of its schemes names. `configured` is the source whose item is restored, which may be of
    /// another kind.
    ///
    /// # Errors
    /// It is not the URL of a target.
    fn target_of_url(
        &self,
        _url: &str,
        _configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn RestoreTarget>> {
        Err(Error::usage(format!("items of kind {} are not restored into a URL", self.name())))
    }

    /// How all of a server is restored with one command, of kinds that can.
    fn whole_server(&self) -> Option<&'static dyn WholeServer> {
        None
    }

    /// Packages of Debian with the clients that bring its items back without this program.
    fn packages(&self) -> &'static [&'static str] {
        &[]
    }

    /// How its snapshots are proven to restore.
    fn verification(&self) -> Verification;

    /// What a self-test of drills damages, made in `dir`, an empty folder.
    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects;
}

impl fmt::Debug for dyn Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the program writes itself, and which must not be backed up into itself.
pub struct OwnPlaces<'a> {
    /// Where the repository lies, if that could be read.
    pub repository: Option<&'a RepositoryLocation>,
    /// The folder of the history.
    pub state_dir: &'a Path,
}

/// What is configured of one source, as its kind understands it.
pub trait KindConfig: Any + fmt::Debug + Send + Sync {
    /// Its kind.
    fn kind(&self) -> &'static dyn Kind;

    /// The source that it describes. Reads the files with its secrets.
    ///
    /// # Errors
    /// Exit code 2: a file cannot be used, or what it holds is not valid.
    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>>;

    /// All files with secrets that it names.
    fn secret_files(&self) -> Vec<&SecretFile> {
        Vec::new()
    }

    /// An error for each file with a secret that can be read, but does not hold what it should, as far as that shows without
    /// asking a server. Nothing is said of a file that cannot be used at all.
    fn unusable_content(&self) -> Vec<Error> {
        Vec::new()
    }

    /// Files with certificates and their keys, each with the key of the configuration that names it.
    fn certificates(&self) -> Vec<(&'static str, &Path)> {
        Vec::new()
    }

    /// Checks that nothing that is to be backed up lies among what the program writes itself, wherever links lead.
    /// `key_path` gives the full name of a key of this source.
    ///
    /// # Errors
    /// Exit code 2 with the first place for which this is not so.
    fn check_places(&self, _key_path: &dyn Fn(&str) -> String) -> Result<()> {
        Ok(())
    }

    /// The folders of this machine that it backs up, without the patterns in their paths. `Some` if that is what the source
    /// is for: then its service may read what others may not.
    fn folders(&self) -> Option<Vec<PathBuf>> {
        None
    }

    /// What it needs of the file system besides its data: sockets, certificates, folders with programs.
    fn needed(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Folders to search for the clients of its kind, before the usual places.
    fn client_dirs(&self) -> &[PathBuf] {
        &[]
    }

    /// Whether it stands for several servers, which are found when it is asked; the names of its items begin with that of
    /// the server.
    fn has_servers(&self) -> bool {
        false
    }

    /// Whether the names of its items begin with that of a server, an account or the like, and a slash.
    fn is_prefixed(&self) -> bool {
        self.has_servers()
    }

    /// Names for items that it would have, where none is known.
    fn example_items(&self) -> Vec<&'static str> {
        vec![super::recovery::EXAMPLE]
    }

    /// The target of this name where the source has its items, one of which is or was `item`.
    ///
    /// # Errors
    /// There is none of this name, or it is not known how to reach it.
    fn target(&self, item: &str, into: &str, cancel: &Cancel) -> Result<Box<dyn RestoreTarget>>;

    /// What has to be known and set up before its items are brought back without this program. `variables` is what the names
    /// of shell variables of this source begin with.
    fn opening(&self, variables: &str) -> Opening;

    /// How one of its items is brought back, without this program and with it, after [`KindConfig::opening`].
    fn commands(&self, piece: &Piece<'_>, variables: &str) -> Commands;
}

impl dyn KindConfig {
    /// The name of its kind, as written in the configuration and in manifests.
    pub fn as_str(&self) -> &'static str {
        self.kind().name()
    }
}

/// All kinds, in the order in which documents list them.
pub static KINDS: &[&dyn Kind] = &[
    &super::postgres::kind::KIND,
    &super::mysql::kind::KIND,
    #[cfg(feature = "mongodb")]
    &super::mongodb::kind::KIND,
    &super::azure::kind::KIND,
    &super::directory::kind::KIND,
];

/// The kind of this name.
pub fn kind_named(name: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}

/// The kind that has this scheme of URLs.
pub fn kind_of_scheme(scheme: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.schemes().contains(&scheme))
}

/// What to write in place of a name that other programs have for a kind.
pub(crate) fn kind_by_other_name(word: &str) -> Option<&'static str> {
    KINDS.iter().find_map(|kind| crate::settings::suggest::by_other_name(word, kind.other_names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names_and_by_those_of_other_programs() {
        assert!(KINDS.iter().all(|kind| kind_named(kind.name()).is_some()));
        assert!(kind_by_other_name("MariaDB").is_some_and(|meant| meant.contains("\"mysql\"")));
        assert!(kind_by_other_name("redis").is_some_and(|meant| meant.contains("\"directory\"")));
        assert_eq!(kind_by_other_name("colour"), None);
    }
}
