//! Lists of snapshots to remove.

use super::*;

fn snapshot(item: &str, time: &str, id: u8) -> Snapshot {
    Snapshot::example("files", item, "directory", time.parse().unwrap(), id)
}

#[test]
fn a_list_has_a_name_that_does_not_depend_on_its_order_and_that_no_other_has() {
    let a = snapshot("small", "2026-11-22T02:00:00+00:00[UTC]", 1);
    let b = snapshot("small", "2026-11-23T02:00:00+00:00[UTC]", 2);
    assert_eq!(code(&[&a, &b]), code(&[&b, &a]));
    assert_ne!(code(&[&a]), code(&[&a, &b]));
    assert_eq!(code(&[&a]).len(), 8);
}

#[test]
fn ids_name_one_snapshot_or_are_refused() {
    let a = snapshot("small", "2026-11-22T02:00:00+00:00[UTC]", 1);
    let other = snapshot("small", "2026-11-22T02:00:00+00:00[UTC]", 3).of_host("old");
    let text = "state_dir = \"/nonexistent\"\n[repository]\nlocation = \"/r\"\npassword_file = \"/pw\"\nhost = \"new\"\n";
    let config = Config::parse(text, std::path::Path::new("/etc/c.toml")).unwrap();
    let only = |id: &str, others: &[Snapshot]| only(&config, id, &[&a], others).cloned();
    assert_eq!(only("0101", &[]).unwrap().id, a.id);
    for wrong in ["01", "zzzz", "", "0202"] {
        assert!(only(wrong, &[]).is_err(), "{wrong}");
    }
    assert!(only("0303", &[other]).unwrap_err().to_string().contains("--host old"));
}
