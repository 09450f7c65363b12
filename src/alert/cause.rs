//! Groups problems by cause: several items with the same cause become one entry.

use std::collections::{HashMap, HashSet};

use jiff::Zoned;
use serde::Serialize;

use crate::{
    history::{ledger::ProblemKind, message::Line},
    output::{count, name},
};

/// Names of items shown for a cause.
const NAMED: usize = 3;
/// Placeholder for the item's name in a text for several items.
const ANY: &str = "SOURCE/ITEM";

/// The subject that denotes the repository.
pub(super) const THE_REPOSITORY: &str = "the repository";

/// A cause and the subjects that it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The items, sources or units, each once, in the order of the lines. A source is left out if its items are named.
    pub subjects: Vec<String>,
    /// The kinds of problem, as in the ledger, each once.
    pub kinds: Vec<String>,
    /// The problem; may have several lines.
    pub text: String,
    /// Start of the earliest problem; for an unreachable repository, since when it is.
    #[serde(serialize_with = "crate::moment::option::serialize")]
    pub since: Option<Zoned>,
    /// What to do next.
    pub hint: Option<String>,
    /// Number of known items that were not backed up for this reason, if there are sources among the subjects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// The sources that represent items, with the number of items.
    #[serde(skip)]
    sources: Vec<(String, u64)>,
}

/// The key by which lines are grouped.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    /// The cause given with the problem.
    Shared(String),
    /// Text and hint, equal except for the item's name.
    Text(String, Option<String>),
}

/// Groups lines by cause: the cause is given, or the lines differ only in their subject.
pub fn causes<'l>(lines: impl IntoIterator<Item = &'l Line>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    let mut known: HashMap<Key, usize> = HashMap::new();
    for line in lines {
        let (text, hint) = (neutral(&line.text, &line.subject), hint(line.hint.as_ref(), &line.subject));
        let key = match &line.cause {
            Some(shared) => Key::Shared(shared.key.clone()),
            None => Key::Text(text.clone(), hint.clone()),
        };
        if let Some(cause) = known.get(&key).and_then(|index| causes.get_mut(*index)) {
            cause.add(line, text, hint);
            continue;
        }
        known.insert(key, causes.len());
        causes.push(Cause {
            subjects: vec![line.subject.clone()],
            kinds: vec![line.kind.clone()],
            text: line.text.clone(),
            since: line.since.clone(),
            hint: line.hint.clone(),
            items: None,
            sources: line.items.map(|items| (line.subject.clone(), items)).into_iter().collect(),
        });
    }
    causes.iter_mut().for_each(Cause::count_items);
    causes
}

fn hint(hint: Option<&String>, subject: &str) -> Option<String> {
    hint.map(|hint| neutral(hint, subject))
}

/// A text without the item's name. A source's name is kept: it may be an ordinary word.
fn neutral(text: &str, subject: &str) -> String {
    if is_item(subject) { text.replace(subject, ANY) } else { text.to_owned() }
}

fn is_item(subject: &str) -> bool {
    subject.contains('/')
}

/// The source of an item, or the subject itself.
pub(super) fn source_of(subject: &str) -> &str {
    subject.split('/').next().unwrap_or_default()
}

impl Cause {
    /// Whether the problem is that the repository cannot be used.
    pub(super) fn is_of_repository(&self) -> bool {
        self.kinds.iter().any(|kind| kind == ProblemKind::Repository.as_str())
    }

    fn add(&mut self, line: &Line, text: String, hint_text: Option<String>) {
        if !self.subjects.contains(&line.subject) {
            let first = self.subjects.first().map_or("", String::as_str);
            // If lines differ in more than the name, the cause's text for several items is used.
            if neutral(&self.text, first) != text
                && let Some(shared) = &line.cause
            {
                self.text.clone_from(&shared.text);
            } else {
                self.text = text;
            }
            if hint(self.hint.as_ref(), first) != hint_text
                && let Some(shared) = &line.cause
            {
                self.hint.clone_from(&shared.hint);
            } else {
                self.hint = hint_text;
            }
            self.subjects.push(line.subject.clone());
            self.sources.extend(line.items.map(|items| (line.subject.clone(), items)));
        }
        self.add_since(line);
        if !self.kinds.contains(&line.kind) {
            self.kinds.push(line.kind.clone());
        }
    }

    /// The earliest time. A source may have failed for another reason before the repository became unreachable.
    fn add_since(&mut self, line: &Line) {
        if line.kind == ProblemKind::Repository.as_str() {
            self.since.clone_from(&line.since);
            return;
        }
        let earlier = line
            .since
            .as_ref()
            .filter(|_| !self.is_of_repository())
            .filter(|since| self.since.as_ref().is_none_or(|known| *since < known));
        if let Some(since) = earlier {
            self.since = Some(since.clone());
        }
    }

    /// Counts the items once each: a source counts as its items, or the listed items do, whichever is larger.
    fn count_items(&mut self) {
        let mut named: HashMap<&str, u64> = HashMap::new();
        for subject in self.subjects.iter().filter(|subject| is_item(subject)) {
            *named.entry(source_of(subject)).or_default() += 1;
        }
        let mut stand_in: HashMap<String, u64> = self.sources.drain(..).collect();
        stand_in.retain(|source, items| *items > named.get(source.as_str()).copied().unwrap_or(0));
        let told: HashSet<String> = named.keys().map(|source| (*source).to_owned()).collect();
        let others: u64 =
            named.iter().filter(|(source, _)| !stand_in.contains_key(**source)).map(|(_, items)| items).sum();
        self.subjects.retain(|subject| {
            if is_item(subject) {
                !stand_in.contains_key(source_of(subject))
            } else {
                stand_in.contains_key(subject) || !told.contains(subject)
            }
        });
        // An unreachable repository includes its sources and items, some of which may have been alerted before.
        let of_repository = stand_in.remove(THE_REPOSITORY).unwrap_or(0);
        let whole: u64 = stand_in.values().sum();
        if whole > 0 || of_repository > 0 || (others > 0 && self.is_of_repository()) {
            self.items = Some(of_repository.max(whole + others));
        }
        self.sources.extend(stand_in);
    }

    /// The number of items concerned, if known.
    pub(super) fn number(&self) -> u64 {
        let named = self.subjects.iter().filter(|subject| is_item(subject)).count() as u64;
        self.items.unwrap_or(named)
    }

    /// Whether it already covers this item through its source.
    pub(super) fn covers(&self, subject: &str) -> bool {
        is_item(subject) && self.sources.iter().any(|(source, _)| source == source_of(subject))
    }

    /// The number of items that a source among the subjects represents.
    pub(super) fn items_of(&self, source: &str) -> Option<u64> {
        self.sources.iter().find(|(known, _)| known == source).map(|(_, items)| *items)
    }

    /// The subjects in one line: the name, or the number and the first names.
    pub fn who(&self) -> String {
        if self.is_of_repository() {
            return match self.items {
                Some(items) => format!("the repository refused, {} not backed up", count(items, "item")),
                None => "the repository refused".to_owned(),
            };
        }
        let named: Vec<String> = self.subjects.iter().take(NAMED).map(|subject| name(subject)).collect();
        let more = match self.subjects.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = format!("{}{more}", named.join(", "));
        if let Some(items) = self.items {
            return format!("{names} ({} not backed up)", count(items, "known item"));
        }
        let items = self.subjects.iter().all(|subject| is_item(subject));
        if items && self.subjects.len() > 1 {
            format!("{} ({names})", count(self.subjects.len(), "item"))
        } else {
            names
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ledger::Shared;

    fn line(subject: &str, kind: &str, text: &str, hint: &str) -> Line {
        Line {
            subject: subject.to_owned(),
            kind: kind.to_owned(),
            text: text.to_owned(),
            since: None,
            hint: Some(hint.to_owned()),
            ..Line::default()
        }
    }

    #[test]
    fn what_differs_only_in_its_item_is_one_cause() {
        let late =
            |item: &str| line(item, "late", "2 days old", &format!("run `tik-backup backup '{item}'`"));
        let lines = ["pg/a", "pg/b", "my/c", "my/d"].map(late);
        let causes = causes(&lines);
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].who(), "4 items (pg/a, pg/b, my/c and 1 more)");
        assert_eq!(causes[0].hint.as_deref(), Some("run `tik-backup backup 'SOURCE/ITEM'`"));
    }

    #[test]
    fn what_differs_in_more_stays_apart_and_as_it_is() {
        let lines = [
            line("pg/a", "failed", "no space", "make room"),
            line("pg/b", "failed", "no right", "grant it to pg/b"),
            line("pg/c", "failed", "no space", "another hint"),
        ];
        let causes = causes(&lines);
        assert_eq!(causes.iter().map(Cause::who).collect::<Vec<_>>(), ["pg/a", "pg/b", "pg/c"]);
        assert_eq!(causes[1].hint.as_deref(), Some("grant it to pg/b"));
    }

    fn source(subject: &str, items: u64, text: &str) -> Line {
        Line { items: Some(items), ..line(subject, "failed", text, "mend it") }
    }

    #[test]
    fn a_repository_that_is_away_is_one_cause_for_all_sources_with_the_number_of_items() {
        let repository = line("the repository", "repository", "it is away", "mend it");
        let lines = [source("pg", 8, "it is away"), source("my", 2, "it is away"), repository.clone()];
        let one = causes(&lines);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].who(), "the repository refused, 10 items not backed up");
        assert_eq!(causes(&[repository])[0].who(), "the repository refused");
    }

    #[test]
    fn a_repository_is_not_away_since_a_source_failed_for_another_reason() {
        let moment = |text: &str| text.parse::<Zoned>().ok();
        let before = moment("2026-11-20T02:00:00+00:00[UTC]");
        let pg = Line { since: before, ..source("pg", 8, "it is away") };
        let repository = line("the repository", "repository", "it is away", "mend it");
        for lines in [[pg.clone(), repository.clone()], [repository, pg]] {
            assert_eq!(causes(&lines)[0].since, None);
        }
    }

    #[test]
    fn a_source_is_not_counted_beside_its_items() {
        let failed = |subject: &str| line(subject, "failed", "no space", "mend it");
        let lines = [failed("files"), failed("files/a"), failed("pg"), failed("pg/a"), failed("pg/b")];
        let one = causes(&lines);
        assert_eq!((one.len(), one[0].who().as_str()), (1, "3 items (files/a, pg/a, pg/b)"));
        let one = causes(&[failed("f"), failed("f/a")]);
        assert_eq!((one.len(), one[0].who().as_str()), (1, "f/a"));
    }

    #[test]
    fn a_source_stands_for_items_that_were_not_even_tried() {
        let killed = line("pg/a", "failed", "the run was interrupted", "mend it");
        let one = causes(&[source("pg", 9, "the run was interrupted"), killed]);
        assert_eq!((one.len(), one[0].who().as_str()), (1, "pg (9 known items not backed up)"));
    }

    #[test]
    fn what_says_that_it_shares_a_cause_is_told_once_whatever_its_text() {
        let shared = |text: &str| Shared { key: "k".to_owned(), text: text.to_owned(), hint: None };
        let late = |item: &str, age: u64, hint: &str| Line {
            cause: Some(shared("each is too old")),
            ..line(item, "late", &format!("{age} seconds old"), hint)
        };
        let one = causes(&[late("pg/a", 38, "x"), late("pg/b", 39, "x"), late("pg/c", 38, "x")]);
        assert_eq!(
            (one.len(), one[0].text.as_str(), one[0].hint.as_deref()),
            (1, "each is too old", Some("x"))
        );
        let same = causes(&[late("pg/a", 38, "x"), late("pg/b", 38, "y")]);
        assert_eq!((same[0].text.as_str(), same[0].hint.as_deref()), ("38 seconds old", None));
        // A single line keeps its own text.
        assert_eq!(causes(&[late("pg/a", 38, "x")])[0].text, "38 seconds old");
    }
}
