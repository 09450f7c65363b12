//! The directories that `paths` mean at the moment: those that are named, and those that patterns find.

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
    open::Identity,
    protected::Protected,
    tally::shown,
    written,
};
use crate::{
    error::{Error, Problem, Result},
    source::directory::config::{DirectoryConfig, part_pattern},
    source::{Discovery, Excluded, Item},
    stream::cancel::Cancel,
};

/// A pattern that means more than this is a mistake.
const MOST: usize = 10_000;
/// So many matches that are not backed up are listed one by one.
const LISTED: usize = 1000;

/// A directory to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// The name of its item.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Below which path a pattern found it, if one did: then it may be gone the next time.
    pub(super) base: Option<PathBuf>,
    /// Why it cannot be backed up.
    pub(super) problem: Option<Problem>,
}

/// What `paths` mean.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub(super) folders: Vec<Folder>,
    excluded: Vec<Excluded>,
    names: HashSet<String>,
    /// Beginnings of the names of items of which it is not known whether they exist.
    unknown: Vec<String>,
}

/// What one pattern matches.
#[derive(Default)]
struct Matches {
    folders: Vec<Match>,
    /// What is there and no directory.
    others: Vec<PathBuf>,
    problems: Vec<(PathBuf, Error)>,
}

struct Match {
    path: PathBuf,
    /// The path up to the first pattern.
    base: PathBuf,
    identity: Identity,
    /// Whether a symbolic link leads there.
    linked: bool,
}

/// Looks up what these paths mean.
pub(super) fn expand(paths: &[PathBuf], protected: &Protected, cancel: &Cancel) -> Result<Expanded> {
    // What exists as it is written is no pattern.
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
    // Where two paths lead to one directory, the one without links gives it its name.
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

    /// Adds a directory as an item. Names are unique, and none of two directories is dropped because their names are written alike.
    fn add(&mut self, folder: Folder, problem: Option<Error>) {
        let mut folder = Folder { problem: problem.map(Problem::from), ..folder };
        if !self.names.insert(folder.name.clone()) {
            // What is excluded is only told: the name belongs to what is backed up.
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

    /// What a pattern matches. What is wrong with it is an item of its own with that problem.
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

    /// Whether anything exists below this path is not known: an unmounted filesystem has no directories that could match.
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

    /// Takes a directory that a pattern found as an item, unless it is one already or must not be.
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

    /// Lists what is left out of the directories because it must not be backed up into itself.
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
                // Named like the directory: what lies in there is unknown then, not gone.
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

    /// What a path is. `without_links` is where it leads if no link is in it.
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

/// The names in a directory, as far as they can be read, and why not all can.
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

/// The problem of a path at which nothing is, if that is so because the path, or a directory on the way to it from `base`, is a
/// link that leads nowhere: it may lead to a filesystem that is not mounted. Otherwise the path is no match.
fn dead_end(path: &Path, base: &Path) -> Option<Error> {
    // The part of the path that exists.
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

/// Whether nothing is there, or nothing that has anything below it.
fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::from_io(format!("cannot list {}", path.display()), error).hint(
        "let the account that runs the backup read it (as root, or with CAP_DAC_READ_SEARCH), or check the filesystem and \
         the system's log",
    )
}

/// An item that stands for what a pattern could have found there.
fn problematic(path: &Path) -> Folder {
    Folder { name: whole_name(path), path: path.to_owned(), base: None, problem: None }
}

/// The whole path as a name.
fn whole_name(path: &Path) -> String {
    written(path.as_os_str())
}
