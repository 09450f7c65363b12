//! Marks, and what may begin after them.

use super::*;

/// What the client prints for a mark.
fn printed(text: &[u8]) -> String {
    let text = std::str::from_utf8(text).unwrap();
    let (_, rest) = text.split_once('\'').unwrap();
    rest.split_once('\'').unwrap().0.to_owned()
}

#[test]
fn every_kind_of_mark_is_recognised() {
    for password in ["", "1", "hi", "AB", "é", " "] {
        let password = Secret::new(password.to_owned());
        let shared = Shared::new(1, &Cancel::new(), Some(&password)).unwrap();
        let table = shared.add_table("t");
        let job = shared.begin_rows(table);
        let (connected, text) = shared.mark(Mark::Connected);
        assert!(shared.line(&format!("{}host|3306|1|/data", printed(&text))));
        assert_eq!(shared.server(connected).as_deref(), Some("host|3306|1|/data"));
        assert!(matches!(shared.next(None).unwrap(), Task::Nothing), "the table does not exist yet");
        let (_, text) = shared.mark(Mark::Created(table));
        let line = printed(&text);
        assert!(password.expose().is_empty() || !line.contains(password.expose()));
        assert!(!shared.line(&line[..line.len() - 1]) && !shared.line("something else"));
        assert!(shared.line(&line) && !shared.line(&line), "once");
        let Task::Rows(rows) = shared.next(None).unwrap() else { panic!("rows may be loaded") };
        assert!(rows.job == job && rows.awaited);
        shared.end_table(table, b"ALTER TABLE t".to_vec());
        assert!(matches!(shared.next(None).unwrap(), Task::Nothing), "the rows are not loaded yet");
        assert!(shared.line(&printed(&shared.mark(Mark::Loaded(table, 1)).1)));
        assert!(matches!(shared.next(None).unwrap(), Task::Then { .. }));
        let (number, text) = shared.mark(Mark::Complete(table));
        assert!(!shared.wait_for_mark(number));
        assert!(shared.line(&printed(&text)) && shared.wait_for_mark(number));
    }
}

#[test]
fn a_session_that_waits_for_rows_gets_them_although_others_fill_the_room() {
    let shared = Shared::new(1, &Cancel::new(), None).unwrap();
    let [full, next] = ["full", "next"].map(|name| {
        let table = shared.add_table(name);
        assert!(shared.line(&printed(&shared.mark(Mark::Created(table)).1)));
        table
    });
    // The second job of a table waits until the first one was run.
    let first = shared.begin_rows(full);
    shared.end_rows(first);
    assert!(matches!(shared.next(None).unwrap(), Task::Rows(_)));
    assert!(shared.take_rows(first).unwrap().is_none());
    let second = shared.begin_rows(full);
    shared.add_rows(second, vec![b'x'; WAITING], || Ok(())).unwrap();
    shared.end_rows(second);
    let third = shared.begin_rows(next);
    let Task::Rows(rows) = shared.next(None).unwrap() else { panic!("there are rows") };
    assert_eq!(rows.job, third);
    let late = || Err(io::Error::other("the buffer stays full"));
    shared.add_rows(third, b"row".to_vec(), late).unwrap();
    assert!(shared.add_rows(third, b"row".to_vec(), late).is_err(), "one portion at a time");
    assert_eq!(shared.take_rows(third).unwrap().unwrap(), [b"row"]);
    shared.add_rows(third, b"row".to_vec(), late).unwrap();
}
