use super::*;
use crate::history::ledger::{Problem, ProblemKind, RepositoryEntry, Summary};

const PLAIN: Style = Style { screen: Screen::PLAIN, all: false };

fn entry(item: &str, state: State) -> Entry {
    let mut entry = Entry::blank("pg", Some(item.to_owned()), "postgres", state);
    entry.last_backup = Some(now());
    entry.age_seconds = Some(7200);
    entry.bytes = Some(1 << 20);
    entry.snapshots = 1;
    entry
}

fn now() -> Zoned {
    "2026-11-23T04:00:00+00:00[UTC]".parse().unwrap()
}

fn ledger(items: Vec<Entry>) -> Ledger {
    let summary = Summary { ok: true, expected: items.len() as u64, ..Summary::default() };
    Ledger {
        at: now(),
        host: "db1".to_owned(),
        summary,
        problems: Vec::new(),
        items,
        sources: Vec::new(),
        running: Vec::new(),
        alerts: Vec::new(),
        repository: RepositoryEntry {
            location: "/mnt/backup".to_owned(),
            bytes: Some(1 << 30),
            free: None,
            snapshots: 7,
            other_hosts: Vec::new(),
            error: None,
        },
        notes: Vec::new(),
    }
}

#[test]
fn the_verdict_comes_first() {
    let mut ledger = ledger(vec![entry("shop", State::Protected)]);
    ledger.summary.backed_up = 1;
    let text = text(&ledger, PLAIN);
    assert!(text.starts_with("The only item is backed up in time; 0 of 1 proven.\n"), "{text}");
    assert!(text.contains("ok     pg/shop  2 h   never  1.0 MiB"), "{text}");
}

#[test]
fn what_is_new_is_not_counted_as_backed_up() {
    let mut fresh = entry("fresh", State::New);
    fresh.snapshots = 0;
    let mut ledger = ledger(vec![entry("shop", State::Protected), fresh]);
    ledger.summary.backed_up = 1;
    let text = text(&ledger, PLAIN);
    let verdict = "1 of 2 items are backed up in time, 1 is new and not yet due; 0 of 2 proven.\n";
    assert!(text.starts_with(verdict), "{text}");
}

#[test]
fn what_is_wrong_says_since_when_and_what_to_do() {
    let mut broken = entry("shop", State::Failed);
    broken.problems.push(Problem {
        kind: ProblemKind::Failed,
        since: Some("2026-11-17T04:00:00+00:00[UTC]".parse().unwrap()),
        text: "pg_dump failed\nlast words".to_owned(),
        hint: Some("mend it".to_owned()),
        items: None,
        shared: None,
    });
    let mut ledger = ledger(vec![entry("a", State::Protected), broken]);
    (ledger.summary.ok, ledger.summary.problems, ledger.summary.backed_up) = (false, 1, 1);
    let text = text(&ledger, PLAIN);
    assert!(text.starts_with("1 PROBLEM: 1 of 2 items are backed up in time"), "{text}");
    let block =
        "pg/shop: pg_dump failed\n    last words\n    since Tue 2026-11-17 04:00, 6 days\n    → mend it\n";
    assert!(text.contains(block), "{text}");
    let (bad, good) = (text.find("FAILED").unwrap(), text.find("ok  ").unwrap());
    assert!(bad < good, "{text}");
}

#[test]
fn names_cannot_steer_the_terminal_and_colour_says_nothing_alone() {
    let ledger = ledger(vec![entry("a\u{1b}[2Jb", State::Protected)]);
    assert!(!text(&ledger, PLAIN).contains('\u{1b}'));
    let coloured = text(&ledger, Style { screen: Screen { colour: true, ..Screen::PLAIN }, ..PLAIN });
    assert!(coloured.contains("\u{1b}[32mok\u{1b}[0m"), "{coloured}");
}

#[test]
fn a_trend_has_a_direction() {
    let point = |bytes| Point { time: now(), bytes, seconds: 1.0 };
    assert_eq!(trend(&[point(100), point(200)], PLAIN), "▅█ +100%");
    assert_eq!(
        trend(
            &[point(200), point(100)],
            Style { screen: Screen { unicode: false, ..Screen::PLAIN }, ..PLAIN }
        ),
        "@+ -50%"
    );
    assert_eq!(trend(&[point(1)], PLAIN), "");
}

#[test]
fn what_is_excluded_is_counted_and_shown_on_demand() {
    let mut excluded = entry("tmp", State::Excluded);
    excluded.why = Some("exclude = \"tmp*\"".to_owned());
    let ledger = ledger(vec![excluded, entry("old", State::Vanished)]);
    assert!(text(&ledger, PLAIN).contains("Not shown: 1 excluded by a rule, 1 gone (--all shows them)\n"));
    assert!(text(&ledger, Style { all: true, ..PLAIN }).contains("exclude = \"tmp*\""));
}

#[test]
fn on_a_terminal_nothing_is_wider_than_it_and_elsewhere_nothing_is_shortened() {
    let long = "顧客データベース_of_a_tenant_with_a_long_name_in_production";
    let mut broken = entry(long, State::NeverBackedUp);
    broken.problems.push(Problem {
        kind: ProblemKind::Failed,
        since: None,
        text: "the server refused the connection ".repeat(5),
        hint: Some("start the server, and see with `tik-backup discover` that it answers ".repeat(2)),
        items: None,
        shared: None,
    });
    let mut ledger = ledger(vec![entry(&format!("{long}_2"), State::Protected), broken]);
    ledger.notes.push("something that is worth knowing about all of this, ".repeat(3));
    for columns in [66, 80, 120] {
        let screen = Screen { columns: Some(columns), colour: false, unicode: true };
        let text = text(&ledger, Style { screen, ..PLAIN });
        let widest = text.lines().map(width).max();
        assert!(widest <= Some(columns), "{columns}: {widest:?}\n{text}");
        assert!(text.contains("`tik-backup discover`"), "a command stays in one piece\n{text}");
    }
    let piped = text(&ledger, PLAIN);
    assert!(
        piped.lines().any(|line| line.starts_with("ok ") && line.contains(&format!("{long}_2"))),
        "{piped}"
    );
}

#[test]
fn where_only_the_history_or_the_repository_is_a_problem_that_is_the_headline() {
    let mut ledger = ledger(vec![entry("a", State::Protected)]);
    ledger.problems.push(Problem {
        kind: ProblemKind::History,
        since: None,
        text: "the history was lost".to_owned(),
        hint: None,
        items: None,
        shared: None,
    });
    (ledger.summary.ok, ledger.summary.problems) = (false, 1);
    assert!(text(&ledger, PLAIN).starts_with("A PROBLEM WITH THE HISTORY: "));
    ledger.problems[0].kind = ProblemKind::Damage;
    assert!(text(&ledger, PLAIN).starts_with("A PROBLEM WITH THE REPOSITORY: "));
    assert_eq!([age(-1800), age(-1), age(119)], ["0 s", "0 s", "119 s"]);
}
