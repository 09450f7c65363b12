//! Missing objects that change their name: as part of a directory, by themselves, as one of many unnamed ones.

use super::*;

fn folder(name: &str) -> Omitted {
    omitted("folder", name)
}

fn file(name: &str) -> Omitted {
    omitted("file", name)
}

fn blob(name: &str) -> Omitted {
    omitted("blob", name)
}

/// The entry for those without a name.
fn others(kind: &str, more: u64) -> Omitted {
    Omitted { reason: format!("{more} more cannot be read"), ..omitted(kind, "(others)") }
}

/// A site after a whole backup and one on each day from day 1 on, each without these objects.
fn after(nights: &[&[Omitted]]) -> Site {
    let mut site = Site::new();
    site.backup(&[], &[]);
    for without in nights {
        site.backup(&[], without);
    }
    site
}

/// The day from which on something of this name is lacking.
fn since(site: &Site, name: &str) -> Option<i64> {
    let query = "SELECT min(since) FROM omitted WHERE name = ?1";
    let moment: Option<i64> = site.history.read(|tx| tx.query_row(query, [name], |row| row.get(0))).unwrap();
    moment.map(|moment| (moment - millis(&Site::moment(0))) / 86_400_000)
}

/// The text of the only problem, and the day since when there is one.
fn problem(site: &Site) -> (String, Option<i64>) {
    let entry = site.entry();
    assert_eq!((entry.state, entry.problems.len()), (State::Partial, 1), "{:?}", entry.problems);
    let moment = entry.problems[0].since.as_ref().map(millis);
    let day = moment.map(|moment| (moment - millis(&Site::moment(0))) / 86_400_000);
    (entry.problems[0].text.clone(), day)
}

#[test]
fn a_file_in_a_folder_that_can_be_listed_again_is_lacking_since_the_folder_was() {
    let mut site = after(&[&[folder("a")], &[file("a/b/x"), file("ab")]]);
    assert_eq!((since(&site, "a/b/x"), since(&site, "ab")), (Some(1), Some(2)));
    assert_eq!((site.lacking_since(), problem(&site).1), (vec![1, 2], Some(1)));
    site.backup(&[], &[file("ab")]);
    assert_eq!(site.lacking_since(), [2], "the newest snapshot has the file again");
    // Files added to the directory meanwhile are in the snapshot before.
    site.backup(&[], &[folder("a"), file("ab")]);
    assert_eq!(site.lacking_since(), [2, 4]);
}

#[test]
fn a_file_in_a_folder_that_can_no_longer_be_listed_stays_lacking_since_its_own_moment() {
    let mut site = after(&[&[file("a/x"), file("ab")], &[folder("a")]]);
    assert_eq!(site.lacking_since(), [1, 2]);
    assert_eq!(since(&site, "ab"), None, "it does not lie in the folder");
    // An operator sees and accepts only the directory.
    let (text, day) = problem(&site);
    assert!(text.ends_with(": folder a (a cannot be read)") && day == Some(2), "{text}");
    assert_eq!(site.entry().omitted, 1);
    let changes = site.accept();
    assert!(changes.len() == 1 && changes[0].ends_with(": folder a (a cannot be read)"), "{changes:?}");
    assert!(site.accept().is_empty());
    site.backup(&[], &[folder("a")]);
    assert_eq!((site.entry().state, site.entry().omitted), (State::Protected, 1));
    assert_eq!(site.lacking_since(), [1, 2]);

    site.backup(&[], &[file("a/x")]);
    let (text, day) = problem(&site);
    assert!(text.ends_with(": file a/x (a/x cannot be read)") && day == Some(1), "{text}");
    assert_eq!(site.lacking_since(), [1]);
    // The acceptance outlives nights on which the directory represents it.
    site.accept();
    site.backup(&[], &[folder("a")]);
    assert!(problem(&site).0.ends_with(": folder a (a cannot be read)"));
    site.backup(&[], &[file("a/x")]);
    assert_eq!((site.entry().state, site.lacking_since()), (State::Protected, vec![1]));
    site.backup(&[], &[]);
    assert!(site.lacking_since().is_empty());
}

#[test]
fn folders_within_folders_hand_down_the_earliest_moment() {
    let site = after(&[&[folder("a/b")], &[folder("a")], &[file("a/b/x"), file("a/y"), file("z")]]);
    assert_eq!((since(&site, "a/b/x"), since(&site, "a/y"), since(&site, "z")), (Some(1), Some(2), Some(3)));
    assert_eq!(site.lacking_since(), [1, 2, 3]);
}

#[test]
fn another_kind_under_the_same_name_is_lacking_as_long() {
    let mut site = after(&[&[file("a")], &[folder("a")]]);
    assert_eq!(site.lacking_since(), [1]);
    site.backup(&[], &[omitted("link", "a/x")]);
    assert_eq!(site.lacking_since(), [1]);
    site.backup(&[], &[omitted("attributes", "a/x")]);
    assert_eq!(site.lacking_since(), [1]);
    // Without its attributes the file is stored: its content has a later holder.
    let mut site = after(&[&[omitted("attributes", "a")], &[file("a")]]);
    assert_eq!(site.lacking_since(), [1, 2]);
    site.backup(&[], &[omitted("attributes", "a")]);
    assert_eq!(site.lacking_since(), [1]);
}

#[test]
fn names_that_are_no_paths_have_nothing_below_them() {
    assert_eq!(after(&[&[blob("a")], &[blob("a/x")]]).lacking_since(), [2]);
    assert_eq!(after(&[&[blob("a/x")], &[blob("a")]]).lacking_since(), [2]);
    assert_eq!(after(&[&[omitted("table", "a")], &[omitted("table", "a/x")]]).lacking_since(), [2]);
}

#[test]
fn the_folder_at_the_top_and_names_in_quotes_are_above_what_lies_in_them() {
    for (above, below) in [
        (".", "x"),
        (".", "a/x"),
        (r#""M\xFCller""#, r#""M\xFCller/x""#),
        ("a", r#""a/b/\xFC""#),
        ("a\"b", r#""a\"b/\xFC""#),
    ] {
        let site = after(&[&[folder(above)], &[file(below)]]);
        assert_eq!(since(&site, below), Some(1), "{below}");
        let site = after(&[&[file(below)], &[folder(above)]]);
        assert_eq!((since(&site, below), since(&site, above)), (Some(1), Some(2)), "{below}");
    }
}

#[test]
fn what_has_no_name_for_want_of_room_is_accepted_once_and_lacking_as_long_as_there_is_such() {
    let mut site = after(&[&[blob("b"), blob("c"), others("blobs", 7)]]);
    assert!(problem(&site).0.ends_with("blobs (others) (7 more cannot be read)"));
    site.accept();
    // A new name in front makes the last one lose its own.
    site.backup(&[], &[blob("a"), blob("b"), others("blobs", 8)]);
    assert!(problem(&site).0.ends_with(": blob a (a cannot be read)"), "{}", problem(&site).0);
    assert_eq!((site.entry().omitted, since(&site, "c"), site.lacking_since()), (3, Some(1), vec![1, 2]));
    site.backup(&[], &[blob("b"), blob("c"), others("blobs", 7)]);
    assert_eq!((site.entry().state, site.lacking_since()), (State::Protected, vec![1]));
    // One that gets its name when there is room was one of the others; one that stands before the last name is readable.
    site.backup(&[], &[blob("c"), blob("d"), others("blobs", 6)]);
    assert_eq!((since(&site, "b"), since(&site, "c"), since(&site, "d")), (None, Some(1), Some(1)));
    site.backup(&[], &[blob("d")]);
    assert_eq!((since(&site, "c"), since(&site, "(others)")), (None, None));
    assert_eq!(site.lacking_since(), [1]);
}

#[test]
fn files_that_lose_their_names_for_want_of_room_stay_lacking() {
    let mut site = after(&[&[file("m"), folder("p"), others("files", 2)]]);
    site.backup(&[], &[file("n"), file("q"), others("files", 9)]);
    assert_eq!((since(&site, "m"), since(&site, "p"), since(&site, "n")), (Some(1), Some(1), Some(2)));
    // The snapshot before has what is named now and was not, although there was room: its moment is its own.
    site.backup(&[], &[file("n"), file("p/new"), others("files", 9)]);
    assert_eq!((since(&site, "p/new"), site.lacking_since()), (Some(3), vec![1, 2, 3]));
    site.backup(&[], &[file("n")]);
    assert_eq!(site.lacking_since(), [2]);
}

#[test]
fn others_that_were_named_after_their_number_are_the_same_others() {
    let site = after(&[&[blob("a"), omitted("blobs", "(7 more)")], &[blob("a"), others("blobs", 8)]]);
    assert_eq!((since(&site, "(7 more)"), since(&site, "(others)")), (None, Some(1)));
}
