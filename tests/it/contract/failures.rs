//! A dump that breaks off leaves no snapshot, and does not affect other items.

use testkit::reports::{backup, error_of, ids_of, item, try_backup};

use super::{
    on_each_kind,
    subject::{Subject, configured, texts},
};

on_each_kind!(a_dump_that_breaks_off_is_not_kept);

fn a_dump_that_breaks_off_is_not_kept(subject: &dyn Subject) {
    subject.create("broken", &texts(3_000));
    subject.create("good", &texts(20));
    subject.create("good-too", &texts(20));
    let config = configured(
        subject,
        "",
        "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\"",
    );
    backup(&config);
    let ids = |name: &str| ids_of(&config, &subject.full(name));
    let before = ["broken", "good", "good-too"].map(ids);
    assert!(before.iter().all(|ids| ids.len() == 1), "{before:?}");

    subject.break_off("broken");
    for _ in 0..2 {
        let ran = try_backup(&config, &[]).expect_code(3);
        let report = ran.json();
        assert_eq!((&report["outcome"], &report["error"]), (&"partial".into(), &serde_json::Value::Null));
        error_of(&report, &subject.name("broken"));
        let failed = format!("{}: FAILED: ", subject.full("broken"));
        assert!(ran.stderr.contains(&failed), "{}", ran.stderr);
        assert_eq!(ids("broken"), before[0], "neither a new snapshot nor a removed one");
        for (name, old) in ["good", "good-too"].iter().zip(&before[1..]) {
            assert_eq!(item(&report, &subject.name(name))["outcome"], "ok");
            assert!(
                ids(name).len() == 1 && ids(name) != *old,
                "{name}: committed, and its retention is applied"
            );
        }
    }
    // If it is the only item, the run as a whole fails.
    try_backup(&config, &[&subject.full("broken")]).expect_code(1);
    subject.heal("broken");
    backup(&config);
    let healed = ids("broken");
    assert!(healed.len() == 1 && healed != before[0], "{healed:?}");
}
