//! Which changes are suspicious, and which are not.

use super::*;
use crate::{
    history::{
        anomaly::{AcceptedLoss, PastObject},
        content::{Counted, Key},
    },
    stream::digest::Digest128,
};

const DAY: i64 = 86_400_000;

fn key(name: &str) -> Key {
    Key { kind: "table".into(), schema: "public".into(), name: name.into() }
}

fn content(tables: &[(&str, u64)]) -> Content {
    let objects: Vec<_> = tables
        .iter()
        .map(|(name, rows)| Counted {
            key: key(name),
            rows: *rows,
            digest: Digest128::of(format!("{name} {rows}").as_bytes()),
            part_of: None,
        })
        .collect();
    let rows = Some(tables.iter().map(|(_, rows)| rows).sum());
    Content { bytes: 1 << 20, rows, objects, ..Content::default() }
}

fn past(tables: &[(&str, &[u64])]) -> Past {
    let objects = tables
        .iter()
        .map(|(name, counts)| {
            let last = counts.last().copied().unwrap_or(0);
            let digest = Digest128::of(format!("{name} {last}").as_bytes());
            (key(name), PastObject { counts: counts.to_vec(), digest, part_of: None })
        })
        .collect();
    Past { sizes: vec![1 << 20], objects, ..Past::default() }
}

fn texts(past: &Past, content: &Content) -> Vec<String> {
    let verdict = judge(&AnomalyRules::default(), past, content, 0);
    verdict.found.into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_first_run_and_steady_growth_are_no_anomaly() {
    assert!(texts(&Past::default(), &content(&[("a", 1000)])).is_empty());
    assert!(texts(&past(&[("a", &[100, 200, 400])]), &content(&[("a", 800)])).is_empty());
    assert!(
        texts(&past(&[("a", &[1000])]), &content(&[("a", 500)])).is_empty(),
        "half is not more than half"
    );
}

#[test]
fn more_than_half_of_the_rows_lost_is_one() {
    assert_eq!(
        texts(&past(&[("a", &[1000])]), &content(&[("a", 400)])),
        ["table public.a had 1000 rows and has 400 now (-60 %)"]
    );
    assert!(
        texts(&past(&[("a", &[99]), ("b", &[1])]), &content(&[("a", 0), ("b", 1)])).is_empty(),
        "too few"
    );
}

#[test]
fn a_slow_loss_is_one_too() {
    assert_eq!(texts(&past(&[("a", &[1000, 700, 550])]), &content(&[("a", 480)])).len(), 1);
}

/// Accepted losses of rows of `a`, as rows before and after.
fn accepted(past: &mut Past, losses: &[(u64, u64)]) {
    past.accepted = losses
        .iter()
        .map(|(before, remaining)| AcceptedLoss {
            kind: Kind::Rows,
            object: "public.a".into(),
            before: *before,
            remaining: *remaining,
            time: 0,
        })
        .collect();
}

#[test]
fn only_losses_that_were_accepted_twice_are_usual_and_none_that_is_greater() {
    let mut past = past(&[("a", &[2000, 10, 2000, 10, 2000]), ("b", &[5])]);
    let told = |past: &Past, rows| texts(past, &content(&[("a", rows), ("b", 5)])).len();
    assert_eq!(told(&past, 10), 1, "that it dipped before says nothing");
    accepted(&mut past, &[(2000, 10)]);
    assert_eq!(told(&past, 10), 1, "once is not usual");
    accepted(&mut past, &[(2000, 10), (1000, 5)]);
    assert_eq!((told(&past, 10), told(&past, 1)), (0, 0));
    assert_eq!(told(&past, 0), 1, "a fall to nothing is never usual");
    accepted(&mut past, &[(1000, 400), (2000, 800), (2000, 2)]);
    assert_eq!((told(&past, 800), told(&past, 500)), (0, 0));
    assert_eq!((told(&past, 399), told(&past, 5)), (1, 1), "only one was as great");
    accepted(&mut past, &[(2000, 0), (2000, 0), (2000, 0)]);
    assert_eq!((told(&past, 3), told(&past, 0)), (0, 1));
    for loss in &mut past.accepted {
        loss.object = "public.b".into();
    }
    assert_eq!(told(&past, 3), 1, "of another table");
}

#[test]
fn a_fall_to_nothing_is_told_again_where_a_smaller_loss_is_open() {
    let mut past = past(&[("a", &[1000]), ("b", &[5])]);
    past.open = vec![Open { id: 9, kind: Kind::Rows, object: "public.a".into(), before: 1000, after: 400 }];
    let rules = AnomalyRules::default();
    let judged = |rows| judge(&rules, &past, &content(&[("a", rows), ("b", 5)]), 0);
    assert_eq!(judged(300), Verdict::default());
    let worse = judged(0);
    assert_eq!(worse.resolved, [9]);
    assert_eq!(worse.found[0].text, "table public.a had 1000 rows and has 0 now (-100 %)");
    assert_eq!(judged(100).found.len(), 1);
}

#[test]
fn small_tables_are_a_loss_when_all_of_them_are_empty() {
    let past = past(&[("a", &[60]), ("b", &[60]), ("c", &[0])]);
    assert_eq!(
        texts(&past, &content(&[("a", 0), ("b", 0), ("c", 0)])),
        ["nothing is left of 120 rows in 2 tables"]
    );
    assert!(texts(&past, &content(&[("a", 0), ("b", 1), ("c", 0)])).is_empty());
}

#[test]
fn missing_tables_and_schemas_are_named() {
    let gone = texts(&past(&[("a", &[5]), ("b", &[7])]), &content(&[("a", 5)]));
    assert_eq!(gone, ["table public.b with 7 rows is gone"]);
    let gone = texts(&past(&[("a", &[5])]), &content(&[]));
    assert_eq!(gone, ["table public.a with 5 rows is gone (as is the whole of public)"]);
}

#[test]
fn what_is_counted_has_the_name_that_it_has_in_objects_of_the_kind() {
    for (kind, many, one) in [
        ("table", "1000 rows", "1 row"),
        ("collection", "1000 documents", "1 document"),
        ("container", "1000 blobs", "1 blob"),
        ("share", "1000 entries", "1 entry"),
        ("folder", "1000 entries", "1 entry"),
    ] {
        let key = Key { kind: kind.into(), schema: String::new(), name: "/srv/e".into() };
        let past_of = |rows| {
            let object = PastObject { counts: vec![rows], ..PastObject::default() };
            Past { objects: [(key.clone(), object)].into(), ..Past::default() }
        };
        let less = Content {
            rows: Some(400),
            objects: vec![Counted { key: key.clone(), rows: 400, digest: Digest128::ZERO, part_of: None }],
            ..Content::default()
        };
        assert_eq!(
            texts(&past_of(1000), &less),
            [format!("{kind} /srv/e had {many} and has 400 now (-60 %)")]
        );
        let gone = texts(&past_of(1), &content(&[]));
        assert_eq!(gone, [format!("{kind} /srv/e with {one} is gone")]);
    }
}

#[test]
fn a_renamed_table_is_not_lost() {
    let mut now = content(&[("new", 5)]);
    now.objects[0].digest = Digest128::of(b"old 5");
    assert!(texts(&past(&[("old", &[5])]), &now).is_empty());
}

#[test]
fn numbered_tables_that_come_and_go_are_usual_once_that_was_accepted_twice_but_not_the_last() {
    let mut past = past(&[("log_7", &[5000]), ("log_8", &[5000]), ("a", &[1])]);
    let end = |number: u64, before| AcceptedLoss {
        kind: Kind::Object,
        object: format!("public.log_{number}"),
        before,
        remaining: 0,
        time: 0,
    };
    let rotated = content(&[("log_8", 5000), ("a", 1)]);
    assert_eq!(texts(&past, &rotated).len(), 1);
    past.accepted = vec![end(5, 4000), end(6, 4000)];
    assert!(texts(&past, &rotated).is_empty());
    assert_eq!(texts(&past, &content(&[("a", 1)])).len(), 2, "all of them");
    past.accepted = vec![end(5, 10), end(6, 10)];
    assert_eq!(texts(&past, &rotated).len(), 1, "far more rows than were accepted");
}

#[test]
fn size_is_compared_with_what_is_usual() {
    let mut past = Past { sizes: vec![10 << 20, 11 << 20, 1, 12 << 20], ..Past::default() };
    let small = Content { bytes: 4 << 20, ..Content::default() };
    assert_eq!(texts(&past, &small), ["it was 11.0 MiB and is 4.0 MiB now (-64 %)"]);
    past.sizes = vec![60 << 10];
    assert!(texts(&past, &Content::default()).is_empty(), "too small to matter");
}

#[test]
fn what_came_back_is_resolved_and_what_did_not_is_not_found_twice() {
    let open = |kind, before| Open { id: 9, kind, object: "public.a".into(), before, after: 400 };
    let mut past = past(&[("a", &[400])]);
    past.open = vec![open(Kind::Rows, 1000)];
    let rules = AnomalyRules::default();
    assert_eq!(judge(&rules, &past, &content(&[("a", 400)]), 0), Verdict::default());
    assert_eq!(judge(&rules, &past, &content(&[("a", 600)]), 0).resolved, [9]);
    past.open = vec![open(Kind::Object, 5)];
    assert_eq!(judge(&rules, &past, &content(&[("a", 400)]), 0).resolved, [9]);
}

#[test]
fn content_stands_still_unusually_long_only_by_its_own_measure() {
    let rules = AnomalyRules::default();
    let now = 100 * DAY;
    let judged = |changes, longest_still, since: i64, same| {
        let past = Past { changes, longest_still, changed: Some(now - since), same, ..Past::default() };
        judge(&rules, &past, &Content { bytes: 1, ..Content::default() }, now).found.len()
    };
    assert_eq!(judged(20, DAY, 8 * DAY, true), 1);
    assert_eq!(judged(20, DAY, 6 * DAY, true), 0, "not for long");
    assert_eq!(judged(20, 5 * DAY, 14 * DAY, true), 0, "it did nearly so before");
    assert_eq!(judged(2, DAY, 50 * DAY, true), 0, "it hardly ever changes");
    assert_eq!(judged(20, DAY, 8 * DAY, false), 0, "it has just changed");
}

#[test]
fn what_was_not_counted_is_not_judged() {
    let uncounted = Content { bytes: 1 << 20, ..Content::default() };
    assert!(texts(&past(&[("a", &[1000])]), &uncounted).is_empty());
}
