//! The kinds of sources. The rest of the program uses a kind through [`Kind`], and a configured source through [`KindConfig`].
//! A new kind is a directory beside the others and one line in [`KINDS`].

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
    server::ServerConfig,
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

    /// Other names that users may write for it, in lower case with `-` between words; each list with the name to write instead.
    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)];

    /// Reads the keys of this kind. Problems are noted in the reader; `None` if a required key is missing.
    fn read_config(&self, reader: &mut Reader<'_>, own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>>;

    /// The key of its part of `manifest.json`. It must differ from the keys of other kinds and from the common fields.
    fn detail_key(&self) -> &'static str;

    /// Reads its part of `manifest.json`, including the forms that earlier versions wrote.
    ///
    /// # Errors
    /// The part is not in a form that this kind writes.
    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Option<Box<dyn Detail>>>;

    /// How original names are stored in its snapshots.
    fn layout(&self) -> Layout {
        Layout::Dump
    }

    /// Its words for a row and for a table.
    fn rows_and_tables(&self) -> (&'static str, &'static str) {
        ("row", "table")
    }

    /// The URL schemes of restore targets of this kind.
    fn schemes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Parses the URL of a restore target. `configured` is the source of the restored item, which may be of another kind.
    ///
    /// # Errors
    /// The URL is not valid for a target.
    fn target_of_url(
        &self,
        _url: &str,
        _configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn RestoreTarget>> {
        Err(Error::usage(format!("items of kind {} cannot be restored into a URL", self.name())))
    }

    /// Restores a whole server with one command, for kinds that support it.
    fn whole_server(&self) -> Option<&'static dyn WholeServer> {
        None
    }

    /// Debian packages with the clients that restore its items without this program.
    fn packages(&self) -> &'static [&'static str] {
        &[]
    }

    /// How drills verify its snapshots.
    fn verification(&self) -> Verification;

    /// Test subjects for the drill self-test, created in `dir`, an empty directory.
    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects;
}

impl fmt::Debug for dyn Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Paths that the program itself writes to, which must not be backed up.
pub struct OwnPlaces<'a> {
    /// The location of the repository, if it could be read.
    pub repository: Option<&'a RepositoryLocation>,
    /// The directory of the history.
    pub state_dir: &'a Path,
}

/// The configuration of one source, as read by its kind.
pub trait KindConfig: Any + fmt::Debug + Send + Sync {
    /// Its kind.
    fn kind(&self) -> &'static dyn Kind;

    /// Opens the source. Reads its secret files.
    ///
    /// # Errors
    /// Exit code 2: a file cannot be used, or its content is not valid.
    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>>;

    /// The settings of a server that is accessed with its own client programs, for kinds of such servers. The defaults of the
    /// methods below answer from them.
    fn server(&self) -> Option<&ServerConfig> {
        None
    }

    /// All secret files that it names.
    fn secret_files(&self) -> Vec<&SecretFile> {
        self.server().map(ServerConfig::secret_files).unwrap_or_default()
    }

    /// An error for each readable secret file with invalid content, as far as this can be checked without contacting a server.
    /// Unreadable files are not reported here.
    fn unusable_content(&self) -> Vec<Error> {
        Vec::new()
    }

    /// Certificate and key files, each with the configuration key that names it.
    fn certificates(&self) -> Vec<(&'static str, &Path)> {
        self.server().map(ServerConfig::certificates).unwrap_or_default()
    }

    /// Checks that no path to back up lies within the program's own paths, after resolving symbolic links.
    /// `key_path` returns the full name of a key of this source.
    ///
    /// # Errors
    /// Exit code 2 with the first path that does.
    fn check_places(&self, _key_path: &dyn Fn(&str) -> String) -> Result<()> {
        Ok(())
    }

    /// The local directories that it backs up, without the patterns in their paths. `Some` for sources of local files: their
    /// service gets permission to read files of other users.
    fn folders(&self) -> Option<Vec<PathBuf>> {
        None
    }

    /// Paths that it needs besides its data: sockets, certificates, directories with programs.
    fn needed(&self) -> Vec<PathBuf> {
        self.server().map(ServerConfig::needed).unwrap_or_default()
    }

    /// Directories to search for the client programs, before the usual places.
    fn client_dirs(&self) -> &[PathBuf] {
        self.server().map_or(&[], |server| &server.client_dirs)
    }

    /// Whether it stands for several servers, which discovery finds; item names begin with the name of the server.
    fn has_servers(&self) -> bool {
        self.server().is_some_and(|server| server.azure.is_some())
    }

    /// Whether item names begin with the name of a server or account and a slash.
    fn is_prefixed(&self) -> bool {
        self.has_servers()
    }

    /// Example item names, for use where no item is known.
    fn example_items(&self) -> Vec<&'static str> {
        self.server().map_or_else(|| vec![super::recovery::EXAMPLE], ServerConfig::example_items)
    }

    /// The restore target of this name on the source's own server; `item` is or was an item of the source.
    ///
    /// # Errors
    /// The target does not exist, or its connection settings are not known.
    fn target(&self, item: &str, into: &str, cancel: &Cancel) -> Result<Box<dyn RestoreTarget>>;

    /// The preparation for restoring its items without this program. `variables` is the prefix of this source's shell variables.
    fn opening(&self, variables: &str) -> Opening;

    /// The commands that restore one item, without this program and with it, after [`KindConfig::opening`].
    fn commands(&self, piece: &Piece<'_>, variables: &str) -> Commands;
}

impl dyn KindConfig {
    /// The name of its kind, as written in the configuration and in manifests.
    pub fn as_str(&self) -> &'static str {
        self.kind().name()
    }
}

/// All kinds, in the order of the documentation.
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

/// The kind with this URL scheme.
pub fn kind_of_scheme(scheme: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.schemes().contains(&scheme))
}

/// The configuration name to write in place of another common name of a kind.
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
