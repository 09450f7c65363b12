//! What can be backed up: every kind of source finds its items, streams one into a sink, and puts one back.

pub mod azure;
pub mod directory;
mod exclude;
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

/// Name of the item that holds what belongs to a server as a whole: roles and users.
pub const GLOBALS: &str = "@globals";
/// Name of the manifest in every snapshot.
pub const MANIFEST: &str = "manifest.json";

/// Something configured that holds items.
pub trait Source: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Its kind, as written in the configuration.
    fn kind(&self) -> &'static str;

    /// Asks what exists now. An error means that the source as a whole could not be asked; an item that is there but
    /// cannot be read is returned with its problem.
    /// A source of many parts may answer before all of them have: it names those that it still waits for in
    /// [`Discovery::waiting`].
    fn discover(&self, cancel: &Cancel) -> Result<Discovery>;

    /// Waits until some of the parts have answered that the last answer still waited for, and gives the whole answer as it
    /// is then, with fewer of them in [`Discovery::waiting`]. `None` if the last answer was the whole one.
    fn discover_rest(&self, _cancel: &Cancel) -> Result<Option<Discovery>> {
        Ok(None)
    }

    /// How many entries of an item each of the configured exclusion patterns leaves out now; patterns that match nothing
    /// are not listed. It lists the item, which may take a while: for people who ask, not for backups.
    fn excluded_within(&self, _item: &Item, _cancel: &Cancel) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    /// Streams one item into `sink` and tells what it held. Whatever goes wrong is an error: what was stored up to
    /// then is not committed.
    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest>;

    /// Whether an attempt that ends without a snapshot leaves what it stored to the next one. For sources whose items may be
    /// too large for one night, and which can identify the state of each file ([`Mark`](crate::stream::sink::Mark)).
    fn in_steps(&self) -> bool {
        false
    }

    /// Whether the source no longer has an item that it had when it was asked. Asked when a dump has failed; a source that
    /// cannot tell says no.
    fn is_gone(&self, _item: &Item, _cancel: &Cancel) -> bool {
        false
    }

    /// Whether a dump of this item that has just failed is worth one more attempt at once, which would be made in another
    /// way. Asked once for each failure; true at most once for an item.
    fn try_again(&self, _item: &Item) -> bool {
        false
    }
}

/// What a source consists of at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Discovery {
    /// What a run backs up.
    pub items: Vec<Item>,
    /// What it does not.
    pub excluded: Vec<Excluded>,
    /// What is wrong with the source as a whole although it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Parts of the source that have not answered yet. What they have is in [`Discovery::unknown`].
    #[serde(skip)]
    pub waiting: Vec<String>,
    /// Beginnings of names: this answer says nothing about an item whose name begins so and that is not listed. The empty
    /// one stands for the whole source.
    #[serde(skip)]
    pub unknown: Vec<String>,
    /// Parts that have answered, where not all have: what lies within one of them is listed, or is not there. The longer
    /// name decides between this and [`Discovery::unknown`].
    #[serde(skip)]
    pub answered: Vec<String>,
}

impl Discovery {
    /// Whether this answer has something of this name, excluded or not.
    pub fn lists(&self, name: &str) -> bool {
        self.items.iter().any(|item| item.name == name)
            || self.excluded.iter().any(|excluded| excluded.name == name)
    }

    /// Whether this answer leaves open if an item that it does not list exists.
    pub fn is_unknown(&self, name: &str) -> bool {
        let within = |whole: &str| name::within(name, whole).is_some();
        // What lies within something that could not be looked into.
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
    /// Size in bytes as the source tells it, roughly what the dump will be.
    pub estimate: Option<u64>,
    /// Why it cannot be backed up although it is there.
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

/// Databases that the configuration names one by one and the server does not have: a typo must not leave one unprotected.
fn absent<'a>(databases: &'a Patterns, there: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = Item> + 'a {
    let problem = || {
        Problem::new("the server has no such database, or hides it from this account, though `databases` names it").hint(
            "correct the name in the configuration, let the account see it, or take it out there if the database is gone \
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

/// A server with databases of which not one is backed up is no success, unless the configuration says that none is wanted.
/// `excluded` is how many databases of its users a rule excludes.
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

/// Puts the item [`GLOBALS`] where the configuration wants it.
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

        // A part of the source did not answer, so that what it has is not known by name.
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
