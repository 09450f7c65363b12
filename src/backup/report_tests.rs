//! Reports of partial and unchecked snapshots.

use super::*;

fn omitted(name: &str) -> Omitted {
    Omitted {
        kind: "view".to_owned(),
        name: name.to_owned(),
        reason: "its table is gone".to_owned(),
        definition: None,
    }
}

fn stored(unchecked: Option<&str>, names: &[String]) -> ItemReport {
    let committed = Committed { snapshot: "ab".repeat(32), bytes_read: 1, bytes_added: 1 };
    let content = Content {
        unchecked: unchecked.map(str::to_owned),
        omitted: Some(names.iter().map(|name| omitted(name)).collect()),
        ..Content::default()
    };
    ItemReport::stored("my", "shop", "mysql", &committed, Some(&content), Instant::now())
}

fn run(items: Vec<ItemReport>) -> RunReport {
    let mut run = RunReport { items, ..RunReport::begin() };
    run.finish();
    run
}

#[test]
fn a_snapshot_that_lacks_something_names_it_and_counts() {
    let report = stored(None, &["v".to_owned(), "w\n".to_owned()]);
    assert_eq!(report.outcome, ItemOutcome::Partial);
    let error = report.error.as_ref().unwrap().to_string();
    assert!(error.contains("view v (its table is gone), view w\\n (its table is gone)\n  → "), "{error}");
    assert!(error.contains("`tik-backup accept 'my/shop'`"), "{error}");
    assert!(report.succeeded() && report.is_understood() && report.is_problem() && !report.is_failure());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["outcome"], "partial");
    let first = serde_json::json!({"type": "view", "name": "v", "reason": "its table is gone"});
    assert_eq!(json["omitted"][0], first);
    let run = run(vec![report, stored(None, &[])]);
    assert_eq!((run.outcome, run.exit_code()), (RunOutcome::Partial, 3));
}

#[test]
fn the_hint_names_the_key_that_excludes_objects_of_their_kind() {
    let hint = |kind: &str| {
        let object = Omitted { kind: kind.to_owned(), ..omitted("a") };
        partial_error("disk/data", &[object], 1).to_string()
    };
    for kind in ["table", "view", "trigger"] {
        assert!(hint(kind).contains("exclude_tables"), "{}", hint(kind));
    }
    for kind in ["file", "folder", "link", "blob", "attributes"] {
        let text = hint(kind);
        assert!(text.contains("`exclude = [\"/path\"]`") && !text.contains("exclude_tables"), "{text}");
    }
}

#[test]
fn one_object_is_not_spoken_of_as_several() {
    let text = |total: u64| partial_error("disk/data", &[omitted("a")], total).to_string();
    let (one, several) = (text(1), text(2));
    assert!(one.contains("lacks an object ") && one.contains("make it readable, exclude it ("), "{one}");
    assert!(one.contains("backup lacks it: ") && one.contains("that holds it is kept"), "{one}");
    assert!(several.contains("lacks objects ") && several.contains("make them readable, exclude them ("));
    assert!(several.contains("that holds each of them is kept"), "{several}");
}

#[test]
fn of_many_objects_a_few_are_named_and_a_thousand_listed() {
    let names: Vec<String> = (0..1500).map(|number| format!("v{number:04}")).collect();
    let report = stored(None, &names);
    let error = report.error.unwrap().to_string();
    assert!(
        error.contains("v0004") && !error.contains("v0005") && error.contains(" and 1495 more"),
        "{error}"
    );
    assert_eq!(report.omitted.len(), 1000);
}

#[test]
fn what_could_not_be_understood_stays_unchecked_and_names_what_it_lacks_too() {
    let report = stored(Some("format 9"), &["v".to_owned()]);
    assert_eq!((report.outcome, report.omitted.len()), (ItemOutcome::Unchecked, 1));
    let error = report.error.as_ref().unwrap().to_string();
    assert!(error.contains("format 9") && error.contains("view v (its table is gone)"), "{error}");
    assert!(!report.is_understood(), "no older snapshot may go");
}

#[test]
fn what_was_accepted_is_a_note_and_what_was_not_is_the_error() {
    let all = [omitted("v"), omitted("w")];
    let mut report = stored(None, &["v".to_owned(), "w".to_owned()]);
    report.accept_omitted(&all[1..], &all);
    let error = report.error.as_ref().unwrap().to_string();
    assert!(error.contains("view w (") && !error.contains("view v ("), "{error}");
    assert_eq!(report.outcome, ItemOutcome::Partial);
    report.accept_omitted(&[], &all);
    assert_eq!((report.outcome, report.error.as_ref()), (ItemOutcome::Ok, None));
    assert!(report.notes.iter().any(|note| note.contains("view v (")), "{:?}", report.notes);
    assert_eq!(run(vec![report]).exit_code(), 0);
}
