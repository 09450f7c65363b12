//! Missing objects, from the first backup that lacks them until they are readable, excluded or accepted.

use std::slice::from_ref;

use jiff::{Span, Zoned};

use super::*;
use crate::history::millis;
use crate::{
    config::{AnomalyRules, Config},
    history::{
        RunBegin, RunEnd, builder,
        ledger::{Entry, ProblemKind, State},
    },
    outcome::{ItemOutcome, ItemReport},
    source::manifest::{Digested, Manifest, Object},
    stream::digest::Digest128,
    survey::not_surveyed,
};

struct Site {
    history: History,
    config: Config,
    day: i64,
}

fn omitted(kind: &str, name: &str) -> Omitted {
    let reason = format!("{name} cannot be read");
    Omitted { kind: kind.to_owned(), name: name.to_owned(), reason, definition: None }
}

fn table(name: &str) -> Object {
    Object {
        kind: "table".to_owned(),
        schema: None,
        name: name.to_owned(),
        rows: 1000,
        bytes: 1000,
        digest: Digest128::of(name.as_bytes()),
    }
}

impl Site {
    fn new() -> Self {
        let text = "max_proof_age = \"never\"\n[repository]\nlocation = \"r\"\npassword_file = \"p\"\n\
                    [sources.my]\nkind = \"postgres\"\nschedule = \"02:00\"\n";
        let config = Config::parse(text, std::path::Path::new("/etc/tik/c.toml")).unwrap();
        Self { history: History::in_memory().unwrap(), config, day: 0 }
    }

    /// The time of the backup of a day.
    fn moment(day: i64) -> Zoned {
        let begin: Zoned = "2026-10-05T02:00:00+00:00[UTC]".parse().unwrap();
        begin.checked_add(Span::new().days(day)).unwrap()
    }

    /// Backs up `shop` once a day, with these tables and without these objects. Returns the anomalies.
    fn backup(&mut self, tables: &[&str], without: &[Omitted]) -> Vec<String> {
        let now = Self::moment(self.day);
        let name = format!("run {}", self.day);
        self.day += 1;
        let mut manifest = Manifest::begin("my", "shop", "postgres");
        manifest.started = now.clone();
        manifest.digested = Digested::Yes;
        manifest.objects = tables.iter().map(|name| table(name)).collect();
        manifest.omitted = without.to_vec();
        let content = Content::of(&manifest);
        let open = self.history.not_accepted("my", "shop", content.omitted()).unwrap();
        let report = ItemReport {
            source: "my".to_owned(),
            item: Some("shop".to_owned()),
            kind: "postgres".to_owned(),
            outcome: if open.is_empty() { ItemOutcome::Ok } else { ItemOutcome::Partial },
            snapshot: Some(Digest128::of(name.as_bytes()).to_string().repeat(2)),
            bytes_read: 1,
            bytes_added: 1,
            seconds: 1.0,
            error: None,
            notes: Vec::new(),
            known_items: None,
            suspicious: Vec::new(),
            omitted: open,
        };
        let sources = [("my".to_owned(), "postgres")];
        let begin = RunBegin {
            name: &name,
            kind: "backup",
            started: &now,
            host: "db1",
            sources: &sources,
            invocation: None,
        };
        let run = self.history.begin_run(&begin).unwrap();
        let found = run.item_finished(&report, Some(&content), &AnomalyRules::default(), &now).unwrap();
        run.finish(&RunEnd { outcome: "ok", error: None, fails_sources: true, forgotten: 0 }, &now).unwrap();
        found.into_iter().map(|finding| finding.text).collect()
    }

    /// The ledger's entry of `shop` after the last backup.
    fn entry(&self) -> Entry {
        let now = Self::moment(self.day - 1).checked_add(Span::new().hours(1)).unwrap();
        let input = builder::LedgerInput {
            config: &self.config,
            now: &now,
            repository: not_surveyed(&self.config),
            notes: Vec::new(),
        };
        let ledger = self.history.ledger(input).unwrap();
        ledger.items.into_iter().find(|entry| entry.item.as_deref() == Some("shop")).unwrap()
    }

    /// The days from which on something is lacking.
    fn lacking_since(&self) -> Vec<i64> {
        let first = millis(&Self::moment(0));
        let mut moments = self.history.lacking_since("my", "shop").unwrap();
        moments.sort_unstable();
        moments.into_iter().map(|moment| (moment - first) / 86_400_000).collect()
    }

    fn accept(&self) -> Vec<String> {
        let accepted = self.history.accept(&|_, _| true, &Self::moment(self.day)).unwrap();
        accepted.into_iter().flat_map(|item| item.changes).collect()
    }
}

#[test]
fn an_item_is_partial_until_what_it_lacks_can_be_read() {
    let mut site = Site::new();
    site.backup(&["a"], &[]);
    assert_eq!((site.entry().state, site.entry().omitted), (State::Protected, 0));
    site.backup(&["a"], &[omitted("view", "v")]);
    site.backup(&["a"], &[omitted("view", "v")]);
    let entry = site.entry();
    assert_eq!((entry.state, entry.omitted, entry.held), (State::Partial, 1, false));
    let problem = &entry.problems[0];
    assert_eq!((entry.problems.len(), problem.kind), (1, ProblemKind::Partial));
    assert_eq!(problem.since.as_ref().map(millis), Some(millis(&Site::moment(1))));
    assert!(problem.text.ends_with(": view v (v cannot be read)"), "{}", problem.text);
    assert!(problem.hint.as_ref().unwrap().contains("tik-backup accept 'my/shop'"), "{problem:?}");
    let outcomes: Vec<String> =
        site.history.past("my", "shop").unwrap().unwrap().attempts.into_iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, ["partial", "partial", "ok"]);

    site.backup(&["a"], &[]);
    assert_eq!(site.entry().state, State::Protected);
    assert!(site.lacking_since().is_empty());
}

#[test]
fn many_objects_are_counted_and_a_few_are_named() {
    let mut site = Site::new();
    let many: Vec<Omitted> = (0..3000).map(|number| omitted("file", &format!("f{number:04}"))).collect();
    site.backup(&[], &many);
    let entry = site.entry();
    assert_eq!(entry.omitted, 3000);
    let text = &entry.problems[0].text;
    assert!(
        text.contains("file f0004 (") && !text.contains("f0005") && text.ends_with(" and 2995 more"),
        "{text}"
    );
}

#[test]
fn what_was_accepted_is_no_problem_and_what_is_new_is_one() {
    let mut site = Site::new();
    let (v, w) = (omitted("view", "v"), omitted("view", "w"));
    site.backup(&["a"], &[v.clone(), w.clone()]);
    let changes = site.accept();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].contains("view v (") && changes[0].contains("view w ("), "{changes:?}");
    assert!(site.accept().is_empty(), "nothing is left to accept");
    let entry = site.entry();
    assert_eq!((entry.state, entry.problems.len(), entry.omitted), (State::Protected, 0, 2));
    assert!(entry.notes.iter().any(|note| note.contains("view w (")), "{:?}", entry.notes);

    // First a part of the accepted objects, then all of them again.
    site.backup(&["a"], from_ref(&v));
    assert_eq!(site.entry().state, State::Protected);
    site.backup(&["a"], &[v.clone(), w.clone()]);
    assert_eq!(site.entry().state, State::Protected);

    let new = omitted("table", "v");
    site.backup(&["a"], &[v.clone(), w.clone(), new.clone()]);
    let entry = site.entry();
    assert_eq!((entry.state, entry.omitted), (State::Partial, 3));
    assert!(entry.problems[0].text.ends_with(": table v (v cannot be read)"), "{:?}", entry.problems);

    // Exactly the objects missing now are accepted, no longer the earlier ones.
    site.backup(&["a"], from_ref(&new));
    site.accept();
    site.backup(&["a"], &[new, v]);
    assert!(site.entry().problems[0].text.ends_with(": view v (v cannot be read)"));
}

#[test]
fn the_moment_from_which_on_something_is_lacking_is_remembered() {
    let mut site = Site::new();
    let (a, b) = (omitted("table", "a"), omitted("table", "b"));
    site.backup(&["a", "b"], &[]);
    site.backup(&["b"], from_ref(&a));
    site.backup(&[], &[a.clone(), b.clone()]);
    assert_eq!(site.lacking_since(), [1, 2]);
    site.backup(&["a"], from_ref(&b));
    assert_eq!(site.lacking_since(), [2], "the newest snapshot has it again");
    // The acceptance does not give up the last copy.
    site.accept();
    site.backup(&[], &[a, b]);
    assert_eq!(site.lacking_since(), [2, 4]);
}

#[test]
fn a_table_that_could_not_be_read_is_not_gone() {
    let mut site = Site::new();
    site.backup(&["a", "b"], &[]);
    assert!(site.backup(&["b"], &[omitted("table", "a")]).is_empty());
    let objects = site.history.past("my", "shop").unwrap().unwrap().objects;
    assert!(objects.iter().all(|object| object.gone.is_none()), "{objects:?}");
    // Once the source no longer has it, it is.
    let found = site.backup(&["b"], &[]);
    assert!(found.len() == 1 && found[0].contains("table a with 1000 rows is gone"), "{found:?}");
}

#[test]
fn a_backup_of_which_nothing_is_known_takes_nothing_back() {
    let mut site = Site::new();
    site.backup(&["a"], &[omitted("view", "v")]);
    let unknown = Content { time: millis(&Site::moment(1)), ..Content::default() };
    site.history.change(|tx| update(tx, 1, &unknown)).unwrap();
    assert_eq!((site.entry().state, site.lacking_since()), (State::Partial, vec![0]));
}

#[test]
fn of_an_item_never_seen_nothing_was_accepted() {
    let history = History::in_memory().unwrap();
    assert!(history.lacking_since("my", "shop").unwrap().is_empty());
    let all = [omitted("view", "v")];
    assert_eq!(history.not_accepted("my", "shop", &all).unwrap(), all);
}

#[path = "omitted_names_tests.rs"]
mod names;
