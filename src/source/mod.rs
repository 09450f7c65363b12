//! Sources of backups: each kind discovers its items, streams an item into a sink, and restores it.

pub mod azure;
pub mod directory;
pub(crate) mod exclude;
mod kind;
pub mod layout;
pub mod manifest;
#[cfg(feature = "mongodb")]
pub mod mongodb;
pub mod mysql;
pub(crate) mod name;
pub(crate) mod omissions;
pub mod postgres;
pub mod recovery;
pub mod restore;
pub(crate) mod select;
pub mod server;
pub(crate) mod subject;
pub mod target;
mod trust;
mod url;
pub(crate) mod verify;

use serde::Serialize;

pub(crate) use self::kind::kind_by_other_name;
pub use self::kind::{KINDS, Kind, KindConfig, OwnPlaces, kind_named, kind_of_scheme};
use self::manifest::Manifest;
use crate::{
    error::{Problem, Result},
    settings::Patterns,
    stream::{cancel::Cancel, sink::Sink},
};

/// Name of the item with the objects of a server as a whole: roles and users.
pub const GLOBALS: &str = "@globals";
/// Name of the manifest in every snapshot.
pub const MANIFEST: &str = "manifest.json";

/// A configured source of items.
pub trait Source: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Its kind, as written in the configuration.
    fn kind(&self) -> &'static str;

    /// Discovers the items that exist now. An error means that the source as a whole could not be queried; an existing item
    /// that cannot be read is returned with its problem.
    /// A source with many parts may return before all of them have answered: it lists the others in [`Discovery::waiting`].
    fn discover(&self, cancel: &Cancel) -> Result<Discovery>;

    /// Waits until some of the parts in [`Discovery::waiting`] have answered, and returns the updated result. `None` if the
    /// last result was complete.
    fn discover_rest(&self, _cancel: &Cancel) -> Result<Option<Discovery>> {
        Ok(None)
    }

    /// How many entries of an item each configured exclusion pattern excludes now, without patterns that match nothing.
    /// This lists the whole item, which may take a while: it is for interactive use, not for backups.
    fn excluded_within(&self, _item: &Item, _cancel: &Cancel) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    /// Begins the dump of an item before there is a sink for it. `None` if the source cannot do this for the item.
    ///
    /// What has begun holds on the server only what a dump holds while it is read slowly. It is ended by dropping it.
    fn begin(&self, _item: &Item, _cancel: &Cancel) -> Option<Result<Box<dyn Begun>>> {
        None
    }

    /// Streams one item into `sink` and returns its manifest. After an error the data stored so far is not committed.
    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest>;

    /// Whether the next attempt can reuse the data stored by an attempt that ended without a snapshot. For sources whose items
    /// may be too large for one night, and which can identify the state of each file ([`Mark`](crate::stream::sink::Mark)).
    fn in_steps(&self) -> bool {
        false
    }

    /// Whether a discovered item has disappeared from the source since. Called when a dump has failed; returns `false` if this
    /// cannot be determined.
    fn is_gone(&self, _item: &Item, _cancel: &Cancel) -> bool {
        false
    }

    /// Whether to retry a failed dump of this item at once, because the next attempt works differently. Called once for each
    /// failure; returns `true` at most once for an item.
    fn try_again(&self, _item: &Item) -> bool {
        false
    }
}

/// A dump that has begun, see [`Source::begin`].
pub trait Begun: Send {
    /// Streams the item into `sink`, as [`Source::dump`] does.
    fn store(self: Box<Self>, sink: &dyn Sink) -> Result<Manifest>;
}

/// The result of discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Discovery {
    /// The items to back up.
    pub items: Vec<Item>,
    /// The excluded items.
    pub excluded: Vec<Excluded>,
    /// Problems of the source as a whole, although it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Parts of the source that have not answered yet. Their prefixes are in [`Discovery::unknown`].
    #[serde(skip)]
    pub waiting: Vec<String>,
    /// Name prefixes: if an item with this prefix is not listed, it may exist all the same. The empty prefix stands for the
    /// whole source.
    #[serde(skip)]
    pub unknown: Vec<String>,
    /// Parts that have answered, if others have not: an item within one of them that is not listed does not exist. The longer
    /// prefix decides between this and [`Discovery::unknown`].
    #[serde(skip)]
    pub answered: Vec<String>,
}

impl Discovery {
    /// Whether the result contains this name, excluded or not.
    pub fn lists(&self, name: &str) -> bool {
        self.items.iter().any(|item| item.name == name)
            || self.excluded.iter().any(|excluded| excluded.name == name)
    }

    /// Whether an item that is not listed may exist all the same.
    pub fn is_unknown(&self, name: &str) -> bool {
        let within = |whole: &str| name::within(name, whole).is_some();
        // Within a part that could not be listed.
        if self.items.iter().any(|item| item.problem.is_some() && within(&item.name)) {
            return true;
        }
        let unknown = self.unknown.iter().filter(|start| name.starts_with(start.as_str()));
        let answered = self.answered.iter().filter(|part| *part == name || within(part));
        match (unknown.map(String::len).max(), answered.map(String::len).max()) {
            (Some(unknown), Some(answered)) => unknown > answered,
            (unknown, _) => unknown.is_some(),
        }
    }
}

/// One thing to back up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Name within the source.
    #[serde(rename = "item")]
    pub name: String,
    /// Size in bytes as the source reports it, roughly the size of the dump.
    pub estimate: Option<u64>,
    /// Why it cannot be backed up although it exists.
    pub problem: Option<Problem>,
}

/// Something that exists and is not backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Name within the source.
    #[serde(rename = "item")]
    pub name: String,
    /// The rule that excludes it.
    pub rule: String,
}

/// Databases that the configuration names literally and the server does not have: a typing error must not leave one without
/// a backup.
fn absent<'a>(databases: &'a Patterns, there: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = Item> + 'a {
    let problem = || {
        Problem::new("the server has no such database, or hides it from this account, although `databases` names it").hint(
            "correct the name in the configuration, grant the account access to it, or remove the name if the database is gone \
             for good",
        )
    };
    databases.names().filter(move |name| !there(name)).map(move |name| Item {
        name: name.to_owned(),
        estimate: None,
        problem: Some(problem()),
    })
}

/// The rule of the configuration that excludes a database.
fn excluded_by(databases: &Patterns, exclude: &Patterns, name: &str) -> Option<String> {
    if databases.matched(name).is_none() {
        return Some("not in `databases`".to_owned());
    }
    exclude.matched(name).map(|pattern| format!("exclude = \"{pattern}\""))
}

/// A server with databases none of which is backed up is a failure, unless the configuration excludes all of them explicitly.
/// `excluded` is the number of user databases that a rule excludes.
fn require_databases(found: &mut Discovery, exclude: &Patterns, excluded: usize) {
    let none = found.items.iter().all(|item| item.name == GLOBALS);
    if none && excluded > 0 && !exclude.iter().any(|pattern| pattern == "*") {
        let (databases, are) = if excluded == 1 { ("database", "is") } else { ("databases", "are") };
        let what = format!("none of its databases is backed up: {excluded} {databases} {are} excluded");
        found.problem = Some(
            Problem::new(what)
                .hint("correct `databases` and `exclude`; if no database is wanted, write exclude = [\"*\"]"),
        );
    }
}

/// Adds the item [`GLOBALS`] to the included or excluded items, as configured.
fn add_globals(found: &mut Discovery, wanted: bool) {
    let name = GLOBALS.to_owned();
    if wanted {
        found.items.push(Item { name, estimate: None, problem: None });
    } else {
        found.excluded.push(Excluded { name, rule: "globals = false".to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_is_unknown_and_not_gone() {
        let item = |name: &str, problem: Option<&str>| Item {
            name: name.to_owned(),
            estimate: None,
            problem: problem.map(Problem::new),
        };
        let mut found = Discovery {
            items: vec![item("acct/photos", None), item("closed", Some("refused"))],
            ..Discovery::default()
        };
        assert!(found.is_unknown("closed/box") && !found.is_unknown("closed"));
        assert!(!found.is_unknown("acct/old") && !found.is_unknown("closed2/box"));

        // A part of the source did not answer, so its items are not known by name.
        found.unknown = vec![String::new(), "acct/share:".to_owned()];
        found.answered = vec!["acct".to_owned()];
        assert!(found.is_unknown("other/box") && found.is_unknown("other") && found.is_unknown("acct2/box"));
        assert!(!found.is_unknown("acct/old"), "the account has answered and does not list it");
        assert!(!found.is_unknown("acct"), "what stood for the account when it did not answer");
        assert!(found.is_unknown("acct/share:docs"), "its shares could not be listed");
        found.unknown.remove(0);
        assert!(!found.is_unknown("other/box") && found.is_unknown("acct/share:docs"));
    }
}
