//! `kind = "directory"`: directories of this machine.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use crate::{
    error::{Error, Result},
    settings::{Paths, RepositoryLocation, reader::Reader},
    source::kind::OwnPlaces,
};

/// Directories of this machine, each of them an item.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryConfig {
    /// The directories, absolute; at least one, none twice. Parts of a path may be patterns.
    pub paths: Vec<PathBuf>,
    /// What to leave out: globs relative to a directory, as `docs/directory.md` describes them.
    pub exclude: Vec<String>,
    /// Whether the content of directories with a valid `CACHEDIR.TAG` is left out.
    pub exclude_caches: bool,
    /// Whether directories on which another file system is mounted are left out.
    pub one_file_system: bool,
    /// Where the repository lies, which is not backed up into itself.
    pub repository: Option<RepositoryLocation>,
    /// The directory of the history, which is not backed up either.
    pub state_dir: Option<PathBuf>,
}

impl DirectoryConfig {
    /// These directories, and everything else as it is unless something is said.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            exclude: Vec::new(),
            exclude_caches: false,
            one_file_system: true,
            repository: None,
            state_dir: None,
        }
    }

    /// Whether a path contains patterns. An existing path with these characters is not a pattern.
    pub fn is_pattern(path: &Path) -> bool {
        path.components().any(|part| part_pattern(part.as_os_str()).is_some())
    }

    /// The path up to its first pattern: all matches are inside it.
    pub fn base(path: &Path) -> PathBuf {
        path.components().take_while(|part| part_pattern(part.as_os_str()).is_none()).collect()
    }

    /// Places that are not backed up although they may be inside one of the directories: description and path. A repository
    /// elsewhere than in a file system of this machine is not among them, nor one whose location cannot be read.
    pub fn protected(&self) -> Vec<(&'static str, PathBuf)> {
        let location = self.repository.as_ref().and_then(|location| location.load().ok());
        let repository = location.as_ref().and_then(|location| location.path()).map(Path::to_owned);
        let places = [(REPOSITORY, repository), (STATE_DIR, self.state_dir.clone())];
        places.into_iter().filter_map(|(what, path)| Some((what, path?))).collect()
    }
}

/// The repository in messages.
const REPOSITORY: &str = "the repository";
/// The directory of the history in messages.
const STATE_DIR: &str = "the state directory";

/// The pattern in a part of a path, if it is one. A part with pattern characters that is not a valid pattern is a
/// plain name.
pub(super) fn part_pattern(part: &OsStr) -> Option<GlobMatcher> {
    let text = part.to_str().filter(|text| text.contains(['*', '?', '[', '{']))?;
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build().ok()?;
    Some(glob.compile_matcher())
}

/// The problem of a directory that by its path is, or is inside, a protected place; `None` if it is neither.
pub(super) fn overlap(path: &Path, what: &str, place: &Path) -> Option<String> {
    let path: PathBuf = path.components().collect();
    let place: PathBuf = place.components().collect();
    // The target of `..` is not known from the path.
    if [&path, &place].iter().any(|path| path.components().any(|part| part == Component::ParentDir)) {
        return None;
    }
    if path == place {
        Some(format!("{} is {what}, which is not backed up into itself", path.display()))
    } else if path.starts_with(&place) {
        Some(format!("{} lies in {what}, which is not backed up into itself", path.display()))
    } else {
        None
    }
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<DirectoryConfig> {
    let paths = reader.paths("paths");
    reader.missing("paths", "the directories to back up, as a list");
    if reader.is_list("paths") && paths.is_empty() {
        reader.problem("paths", "names no directory; give at least one");
    }
    let mut seen = HashSet::new();
    for path in &paths {
        if !seen.insert(path) {
            reader.problem("paths", &format!("names {} twice", path.display()));
        }
        if has_any_depth(path) {
            let what = format!(
                "{}: ** is not possible here; write a * for each level, such as \"/srv/*/uploads\", and further paths for \
                 further levels",
                path.display()
            );
            reader.problem("paths", &what);
        }
    }
    let exclude = reader.exclude(Paths::OfFiles);
    let exclude_caches = reader.boolean("exclude_caches", false);
    let one_file_system = reader.boolean("one_file_system", true);
    (!paths.is_empty()).then(|| DirectoryConfig {
        exclude,
        exclude_caches,
        one_file_system,
        ..DirectoryConfig::new(paths)
    })
}

/// Whether a path contains an unescaped `**`.
fn has_any_depth(path: &Path) -> bool {
    let text = path.to_string_lossy().replace("\\\\", "").replace("\\*", "");
    text.contains("**")
}

/// Passes the places of repository and history to the source, and reports directories that are inside them by their path.
pub(super) fn protect(directory: &mut DirectoryConfig, own: &OwnPlaces<'_>, reader: &Reader<'_>) {
    directory.repository = own.repository.cloned();
    directory.state_dir = Some(own.state_dir.to_owned());
    // A file with the location is not read here.
    let given = own.repository.filter(|location| matches!(location, RepositoryLocation::Given(_)));
    let known = DirectoryConfig {
        repository: given.cloned(),
        state_dir: Some(own.state_dir.to_owned()),
        ..DirectoryConfig::new(Vec::new())
    };
    for (what, place) in known.protected() {
        for path in &directory.paths {
            if let Some(problem) = overlap(&DirectoryConfig::base(path), what, &place) {
                reader.problem("paths", &format!("{problem}; remove it"));
            }
        }
    }
}

/// Checks that no directory is, or is inside, the repository or the state directory, with links resolved.
pub(super) fn check_places(directory: &DirectoryConfig, key_path: &dyn Fn(&str) -> String) -> Result<()> {
    let places: Vec<_> = directory
        .protected()
        .into_iter()
        .filter_map(|(what, place)| Some((what, place.canonicalize().ok()?)))
        .collect();
    for path in &directory.paths {
        let Ok(folder) = path.canonicalize() else { continue };
        if let Some(problem) = places.iter().find_map(|(what, place)| overlap(&folder, what, place)) {
            let key = key_path("paths");
            return Err(Error::usage(format!("{key}: {} cannot be backed up: {problem}", path.display()))
                .hint("remove it from `paths`, or move the data elsewhere"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::testing;

    #[test]
    fn folders_are_absolute() {
        let repository = RepositoryLocation::Given("/r".to_owned());
        let own = OwnPlaces { repository: Some(&repository), state_dir: Path::new("/var/lib/tik-backup") };
        let directory = testing::read("paths = [\"/srv\", \"below\"]\n", |reader| {
            let mut directory = read(reader)?;
            protect(&mut directory, &own, reader);
            Some(directory)
        })
        .unwrap();
        assert_eq!(directory.paths, [Path::new("/srv"), Path::new("/etc/tik/below")]);
        assert!(directory.one_file_system && !directory.exclude_caches);
        let state = PathBuf::from("/var/lib/tik-backup");
        assert_eq!(
            directory.protected(),
            [("the repository", PathBuf::from("/r")), ("the state directory", state)]
        );
    }

    #[test]
    fn what_a_path_means_lies_in_the_folder_before_its_first_pattern() {
        for (path, base) in [
            ("/srv/www", "/srv/www"),
            ("/srv/*/uploads", "/srv"),
            ("/*", "/"),
            ("/srv/a?/b*", "/srv"),
            ("/srv/[ab]", "/srv"),
            ("/srv/{a,b}", "/srv"),
            ("/srv/{a", "/srv/{a"),
        ] {
            assert_eq!(DirectoryConfig::base(Path::new(path)), Path::new(base));
            assert_eq!(DirectoryConfig::is_pattern(Path::new(path)), path != base, "{path}");
        }
    }
}
