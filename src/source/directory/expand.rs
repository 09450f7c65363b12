//! The directories that `paths` currently stands for: the named ones and the matches of patterns.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{
    dump::{not_into_itself, open},
    item_name,
    protected::Protected,
    written,
};
use crate::{
    error::{Error, Problem, Result},
    fs::open::Identity,
    output::paths::shown,
    source::directory::config::{DirectoryConfig, part_pattern},
    source::{Discovery, Excluded, Item},
    stream::cancel::Cancel,
};

/// The maximum number of matches of a pattern; more are a mistake.
const MOST: usize = 10_000;
/// The maximum number of excluded matches that are listed individually.
const LISTED: usize = 1000;

/// A directory to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// The name of its item.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The path below which a pattern found it, if one did: it may be missing the next time.
    pub(super) base: Option<PathBuf>,
    /// Why it cannot be backed up.
    pub(super) problem: Option<Problem>,
}

/// The expanded `paths`.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub(super) folders: Vec<Folder>,
    excluded: Vec<Excluded>,
    names: HashSet<String>,
    /// Prefixes of the names of items whose existence is unknown.
    unknown: Vec<String>,
}

/// The matches of one pattern.
#[derive(Default)]
struct Matches {
    folders: Vec<Match>,
    /// Matches that are not directories.
    others: Vec<PathBuf>,
    problems: Vec<(PathBuf, Error)>,
}

struct Match {
    path: PathBuf,
    /// The path up to the first pattern.
    base: PathBuf,
    identity: Identity,
    /// Whether the path contains a symbolic link.
    linked: bool,
}

/// Expands these paths.
pub(super) fn expand(paths: &[PathBuf], protected: &Protected, cancel: &Cancel) -> Result<Expanded> {
    // An existing path is not a pattern.
    let is_literal =
        |path: &&PathBuf| !DirectoryConfig::is_pattern(path) || fs::symlink_metadata(path).is_ok();
    let (literal, patterns): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(is_literal);
    let literal: Vec<PathBuf> = literal.into_iter().cloned().collect();
    let mut expanded = Expanded::default();
    let mut seen: HashMap<Identity, PathBuf> = HashMap::new();
    for path in &literal {
        cancel.check()?;
        if let Ok(meta) = fs::metadata(path) {
            seen.entry((meta.dev(), meta.ino())).or_insert_with(|| path.clone());
        }
        let problem = match protected.problem(path) {
            Some(problem) => Some(not_into_itself(&problem)),
            None => open(path).err(),
        };
        let folder =
            Folder { name: item_name(path, &literal), path: path.clone(), base: None, problem: None };
        expanded.add(folder, problem);
    }
    let mut found: Vec<Match> = Vec::new();
    for pattern in patterns {
        found.extend(expanded.look_up(pattern, cancel)?);
    }
    // If two paths lead to one directory, it is named after the one without links.
    found.sort_by(|one, other| (one.linked, &one.path).cmp(&(other.linked, &other.path)));
    for one in found {
        cancel.check()?;
        expanded.take(one, &mut seen, protected);
    }
    expanded.note_protected(protected);
    Ok(expanded)
}

impl Expanded {
    /// As a source shows it.
    pub(super) fn discovery(&self) -> Discovery {
        let item = |folder: &Folder| Item {
            name: folder.name.clone(),
            estimate: None,
            problem: folder.problem.clone(),
        };
        Discovery {
            items: self.folders.iter().map(item).collect(),
            excluded: self.excluded.clone(),
            unknown: self.unknown.clone(),
            ..Discovery::default()
        }
    }

    /// Adds a directory as an item with a unique name: neither of two directories is dropped because their names are written alike.
    fn add(&mut self, folder: Folder, problem: Option<Error>) {
        let mut folder = Folder { problem: problem.map(Problem::from), ..folder };
        if !self.names.insert(folder.name.clone()) {
            // An excluded directory is only reported: the name belongs to the one that is backed up.
            self.excluded.retain(|excluded| excluded.name != folder.name);
            if let Some(first) = self.folders.iter_mut().find(|first| first.name == folder.name) {
                if first.path == folder.path {
                    first.problem = first.problem.take().or(folder.problem);
                    return;
                }
                folder.name = self.free_name(&folder.path);
                self.names.insert(folder.name.clone());
            }
        }
        self.folders.push(folder);
    }

    /// Another name for a directory whose usual one is taken.
    fn free_name(&self, path: &Path) -> String {
        let escaped = path.as_os_str().as_bytes().escape_ascii().to_string();
        let mut name = escaped.clone();
        let mut number = 2_u64;
        while self.names.contains(&name) {
            name = format!("{escaped} ({number})");
            number += 1;
        }
        name
    }

    fn exclude(&mut self, path: &Path, rule: String) {
        let name = whole_name(path);
        if self.names.insert(name.clone()) {
            self.excluded.push(Excluded { name, rule });
        }
    }

    /// Adds the matches of a pattern. Each of its problems is an item of its own.
    fn look_up(&mut self, pattern: &Path, cancel: &Cancel) -> Result<Vec<Match>> {
        let matches = Matches::of(pattern, cancel)?;
        if matches.folders.is_empty() {
            self.doubt(&DirectoryConfig::base(pattern));
        }
        if matches.folders.is_empty() && matches.problems.is_empty() {
            let problem = Error::failed(format!("no directory matches {}", pattern.display())).hint(
                "correct the pattern in `paths`, mount the filesystem in which it looks, or remove it if it is no longer \
                 needed",
            );
            self.add(problematic(pattern), Some(problem));
        }
        for (path, problem) in matches.problems {
            self.add(problematic(&path), Some(problem));
        }
        for path in matches.others.iter().take(LISTED) {
            self.exclude(path, "is not a directory".to_owned());
        }
        if let Some(more) = matches.others.len().checked_sub(LISTED + 1) {
            self.exclude(pattern, format!("{} more matches are not directories", more + 1));
        }
        Ok(matches.folders)
    }

    /// Marks the content of this path as unknown: an unmounted filesystem has no directories that could match.
    fn doubt(&mut self, base: &Path) {
        // A name that is not UTF-8 is written out as a whole.
        for mut start in [whole_name(base), base.as_os_str().as_bytes().escape_ascii().to_string()] {
            if !start.ends_with('/') {
                start.push('/');
            }
            if !self.unknown.contains(&start) {
                self.unknown.push(start);
            }
        }
    }

    /// Adds a match of a pattern as an item, unless it already is one or is protected.
    fn take(&mut self, one: Match, seen: &mut HashMap<Identity, PathBuf>, protected: &Protected) {
        let Match { path, base, identity, .. } = one;
        if let Some(problem) = protected.problem(&path) {
            return self.exclude(&path, problem);
        }
        match seen.get(&identity) {
            // Two patterns that match the same path.
            Some(first) if *first == path => {}
            Some(first) => {
                let rule = format!("is the same directory as {}", first.display());
                self.exclude(&path, rule);
            }
            None => {
                let problem = open(&path).err();
                let folder =
                    Folder { name: whole_name(&path), path: path.clone(), base: Some(base), problem: None };
                seen.insert(identity, path);
                self.add(folder, problem);
            }
        }
    }

    /// Lists the places inside the directories that are not backed up into themselves.
    fn note_protected(&mut self, protected: &Protected) {
        let healthy: Vec<PathBuf> =
            self.folders.iter().filter(|f| f.problem.is_none()).map(|f| f.path.clone()).collect();
        for folder in healthy {
            for (path, what) in protected.below(&folder) {
                self.exclude(path, format!("is {what}, which is not backed up into itself"));
            }
        }
    }
}

impl Matches {
    fn of(pattern: &Path, cancel: &Cancel) -> Result<Self> {
        let mut matches = Self::default();
        let mut paths = vec![PathBuf::new()];
        let base = DirectoryConfig::base(pattern);
        for part in pattern.components() {
            let Some(glob) = part_pattern(part.as_os_str()) else {
                paths.iter_mut().for_each(|path| path.push(part));
                continue;
            };
            let mut below = Vec::new();
            for folder in paths {
                cancel.check()?;
                let (names, problem) = names(&folder);
                let matching = names.iter().filter(|name| glob.is_match(name));
                below.extend(matching.map(|name| folder.join(name)));
                // Named after the directory: its content is then unknown, not vanished.
                let problem = match problem {
                    Some(error) if is_absent(&error) => dead_end(&folder, &base),
                    other => other.map(|error| unreadable(&folder, error)),
                };
                matches.problems.extend(problem.map(|problem| (folder.clone(), problem)));
                if below.len() > MOST {
                    let problem = Error::failed(format!("matches more than {MOST} paths"));
                    matches.problems.push((pattern.to_owned(), problem.hint("write a narrower pattern")));
                    return Ok(Self { problems: matches.problems, ..Self::default() });
                }
            }
            below.sort_unstable();
            paths = below;
        }
        let real = base.canonicalize().unwrap_or_else(|_| base.clone());
        for path in paths {
            cancel.check()?;
            // Links before the first pattern are the same for all.
            let without_links = path.strip_prefix(&base).ok().map(|below| real.join(below));
            matches.look_at(path, &base, without_links);
        }
        Ok(matches)
    }

    /// The type of a path. `without_links` is the path with links resolved.
    fn look_at(&mut self, path: PathBuf, base: &Path, without_links: Option<PathBuf>) {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                let linked = path.canonicalize().ok() != without_links;
                let (base, identity) = (base.to_owned(), (meta.dev(), meta.ino()));
                self.folders.push(Match { path, base, identity, linked });
            }
            Ok(_) => self.others.push(path),
            Err(error) if is_absent(&error) => {
                self.problems.extend(dead_end(&path, base).map(|problem| (path, problem)));
            }
            Err(error) => {
                let problem = unreadable(&path, error);
                self.problems.push((path, problem));
            }
        }
    }
}

/// The readable names in a directory, and the error if not all could be read.
fn names(folder: &Path) -> (Vec<OsString>, Option<io::Error>) {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return (names, Some(error)),
    };
    for entry in entries {
        match entry {
            Ok(entry) => names.push(entry.file_name()),
            Err(error) => return (names, Some(error)),
        }
    }
    (names, None)
}

/// The problem of a path that does not exist, if the path or one of its parents below `base` is a
/// dangling link: its target may be on a filesystem that is not mounted. Otherwise the path is not a match.
fn dead_end(path: &Path, base: &Path) -> Option<Error> {
    // The existing part of the path.
    let (link, meta) = path
        .ancestors()
        .take_while(|above| *above != base)
        .find_map(|above| Some((above, fs::symlink_metadata(above).ok()?)))?;
    let error = fs::metadata(link).err().filter(is_absent).filter(|_| meta.is_symlink())?;
    let target = fs::read_link(link).ok()?;
    let circle = Errno::from_io_error(&error) == Some(Errno::LOOP);
    let what = if circle { "which leads back to it" } else { "which is not there" };
    let problem = format!("{} is a link to {}, {what}", shown(link), shown(&target));
    Some(Error::failed(problem).hint(
        "mount or create its target, remove the link if it is no longer needed, or write a pattern in `paths` that does not \
         match it",
    ))
}

/// Whether the path, or a parent directory, does not exist.
fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::from_io(format!("cannot list {}", path.display()), error).hint(
        "let the account that runs the backup read it (as root, or with CAP_DAC_READ_SEARCH), or check the filesystem and \
         the system's log",
    )
}

/// An item in place of the possible matches at this path.
fn problematic(path: &Path) -> Folder {
    Folder { name: whole_name(path), path: path.to_owned(), base: None, problem: None }
}

/// The whole path as a name.
fn whole_name(path: &Path) -> String {
    written(path.as_os_str())
}
