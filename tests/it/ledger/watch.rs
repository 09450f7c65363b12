//! A second host that has only the repository.

use std::fs;

use testkit::{
    Cmd,
    program::quoted,
    receiver::Receiver,
    site::{More, Site, at, item, lines},
};

#[test]
fn a_second_host_makes_out_of_the_snapshots_alone_what_is_late() {
    let Some(site) = Site::new(&["shop", "dropped"], More::default()) else { return };
    for day in 5..9 {
        site.backup_at(&format!("2026-10-{day:02} 02:00:00")).ok();
    }
    site.server.psql("postgres", "DROP DATABASE dropped");
    site.backup_at("2026-10-09 02:00:00").ok();

    let second = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let secret = |name: &str, text: &str| {
        let path = second.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        quoted(&path.display().to_string())
    };
    let config = second.path().join("watch.toml");
    let text = format!(
        "state_dir = {}\n[repository]\nlocation = {}\npassword_file = {}\n[[alerts]]\nkind = \"webhook\"\nurl_file = {}\n",
        quoted(&second.path().join("state").display().to_string()),
        quoted(&site.config.repo().display().to_string()),
        quoted(&site.config.password_file().display().to_string()),
        secret("url", &receiver.url("/second"))
    );
    fs::write(&config, &text).unwrap();
    let run = |moment: &str, command: &[&str]| {
        at(Cmd::new().arg("--config").arg(&config), moment).args(command).run()
    };

    run("2026-10-09 11:00:00", &["watch"]).ok();
    let ledger = run("2026-10-09 11:00:00", &["--json", "status"]).ok().json();
    assert_eq!(item(&ledger, "shop")["state"], "protected");
    assert_eq!(item(&ledger, "shop")["snapshots"], 5);
    assert_eq!(
        item(&ledger, "shop")["max_age_seconds"],
        36 * 3600,
        "a day between them, and half of one more"
    );
    // A dropped database cannot be distinguished from a late one; it is reported, and can be accepted there too.
    run("2026-10-09 15:00:00", &["watch"]).expect_code(5);
    let told: Vec<_> = receiver.take().iter().map(|request| lines(&request.json()["new"])).collect();
    assert_eq!(told, [["pg/dropped: late"]]);
    run("2026-10-10 15:00:00", &["watch"]).expect_code(5);
    let told = receiver.take();
    assert_eq!(told.len(), 1);
    assert_eq!(lines(&told[0].json()["new"]), ["pg/shop: late"], "the first host has fallen silent");
    // The operator accepts here too that it is gone.
    let accepted = run("2026-10-10 15:30:00", &["accept", "pg/dropped"]).ok();
    assert!(accepted.stdout.contains("no longer expected"), "{}", accepted.stdout);
    let ledger = run("2026-10-10 15:40:00", &["--json", "status"]).ok().json();
    assert_eq!(
        (&ledger["summary"]["problems"], &item(&ledger, "dropped")["state"]),
        (&1.into(), &"vanished".into())
    );
    // A limit of its own.
    fs::write(&config, format!("max_age = \"20d\"\n{text}")).unwrap();
    run("2026-10-10 16:00:00", &["watch"]).ok();
}

#[test]
fn a_second_host_that_sees_nothing_does_not_call_that_well() {
    let Some(site) = Site::new(&[], More::default()) else { return };
    let text = fs::read_to_string(site.config.path()).unwrap();
    let without = text.split("[sources.").next().unwrap();
    fs::write(site.config.path(), without).unwrap();
    let watch = site.at("2026-10-05 03:00:00").arg("watch").run().expect_code(5);
    assert!(watch.stdout.contains("the repository: it has no snapshot"), "{}", watch.stdout);
    assert_eq!(lines(&site.messages()[0]["new"]), ["the repository: never-backed-up"]);
}

#[test]
fn watching_needs_no_source_to_answer() {
    let Some(mut site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    site.server.stop();
    site.at("2026-10-05 03:00:00").arg("watch").run().ok();
}
