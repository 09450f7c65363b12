//! One cause, one message: what is wrong for the same reason with several items is said once.

use std::collections::HashMap;

use jiff::Zoned;
use serde::Serialize;

use super::message::Line;
use crate::output::{count, name};

/// So many names of the items with one cause are shown.
const NAMED: usize = 3;
/// What stands for the name of an item in a text that is said once for several.
const ANY: &str = "SOURCE/ITEM";

/// What is wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The items, sources or units, each once, in the order of the lines.
    pub subjects: Vec<String>,
    /// The kinds of problem, as in the ledger, each once.
    pub kinds: Vec<String>,
    /// What happened; may have several lines.
    pub text: String,
    /// Since when, of the first.
    #[serde(serialize_with = "crate::moment::option::serialize")]
    pub since: Option<Zoned>,
    /// What to do next.
    pub hint: Option<String>,
}

/// Puts together lines that differ in nothing but what they are about.
pub fn causes<'l>(lines: impl IntoIterator<Item = &'l Line>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    let mut known: HashMap<(String, Option<String>), usize> = HashMap::new();
    for line in lines {
        let key = (neutral(&line.text, &line.subject), hint(line));
        if let Some(cause) = known.get(&key).and_then(|index| causes.get_mut(*index)) {
            cause.add(line, key);
            continue;
        }
        known.insert(key, causes.len());
        causes.push(Cause {
            subjects: vec![line.subject.clone()],
            kinds: vec![line.kind.clone()],
            text: line.text.clone(),
            since: line.since.clone(),
            hint: line.hint.clone(),
        });
    }
    causes
}

fn hint(line: &Line) -> Option<String> {
    line.hint.as_ref().map(|hint| neutral(hint, &line.subject))
}

/// A text without the name of its item. That of a source is a word that may mean anything else as well.
fn neutral(text: &str, subject: &str) -> String {
    if subject.contains('/') { text.replace(subject, ANY) } else { text.to_owned() }
}

impl Cause {
    fn add(&mut self, line: &Line, (text, hint): (String, Option<String>)) {
        if !self.subjects.contains(&line.subject) {
            self.subjects.push(line.subject.clone());
            (self.text, self.hint) = (text, hint);
        }
        if !self.kinds.contains(&line.kind) {
            self.kinds.push(line.kind.clone());
        }
        let earlier =
            line.since.as_ref().filter(|since| self.since.as_ref().is_none_or(|known| *since < known));
        if let Some(since) = earlier {
            self.since = Some(since.clone());
        }
    }

    /// What it is about in one line: the name, or how many and the first names.
    pub fn who(&self) -> String {
        let named: Vec<String> = self.subjects.iter().take(NAMED).map(|subject| name(subject)).collect();
        if self.subjects.len() == 1 {
            return named.concat();
        }
        let more = match self.subjects.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let items = self.subjects.iter().all(|subject| subject.contains('/'));
        if items {
            format!("{} ({}{more})", count(self.subjects.len(), "item"), named.join(", "))
        } else {
            format!("{}{more}", named.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: &str, kind: &str, text: &str, hint: &str) -> Line {
        Line {
            subject: subject.to_owned(),
            kind: kind.to_owned(),
            text: text.to_owned(),
            since: None,
            hint: Some(hint.to_owned()),
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

    #[test]
    fn a_repository_that_is_away_is_one_cause_for_all_sources() {
        let lines =
            ["pg", "my", "the repository"].map(|subject| line(subject, "failed", "it is away", "mount it"));
        let causes = causes(&lines);
        assert_eq!((causes.len(), causes[0].who().as_str()), (1, "pg, my, the repository"));
    }
}
