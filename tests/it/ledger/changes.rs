//! Databases that are created, dropped, renamed and forbidden between runs.

use testkit::{
    postgres::quote,
    site::{More, Site, fill, item, lines},
};

#[test]
fn what_comes_goes_is_renamed_and_forbidden_shows_as_what_it_is() {
    let Some(site) =
        Site::new(&["shop", "Old \"Näme\""], More { source: "exclude = [\"scratch_*\"]", ..More::default() })
    else {
        return;
    };
    let old = "Old \"Näme\"";
    site.backup_at("2026-10-05 02:00:00").ok();

    // Created: backed up by the next run, without a change of the configuration.
    site.server.create_database("fresh");
    site.server.create_database("scratch_1");
    fill(&site.server, "fresh", "t", 10);
    site.backup_at("2026-10-06 02:00:00").ok();
    let ledger = site.status_at("2026-10-06 03:00:00");
    assert_eq!(item(&ledger, "fresh")["state"], "protected");
    assert_eq!(item(&ledger, "scratch_1")["state"], "excluded");
    assert_eq!(item(&ledger, "scratch_1")["why"], "exclude = \"scratch_*\"");
    assert_eq!(site.messages().len(), 0, "a new database is no alarm");

    // Dropped: reported, and its snapshots are kept.
    site.server.psql("postgres", "DROP DATABASE fresh");
    let said = site.backup_at("2026-10-07 02:00:00").ok().stderr;
    assert!(said.contains("pg/fresh: VANISHED"), "{said}");
    let ledger = site.status_at("2026-10-07 03:00:00");
    assert_eq!(item(&ledger, "fresh")["state"], "vanished");
    assert_eq!(item(&ledger, "fresh")["since"].as_str().unwrap()[..10], *"2026-10-07");
    let told = site.messages();
    assert_eq!(lines(&told[0]["new"]), ["pg/fresh: vanished"]);
    assert_eq!(site.check_at("2026-10-07 03:00:00"), Some(5));
    let accepted = site.at("2026-10-07 04:00:00").args(["accept", "pg/fresh"]).run().ok();
    assert!(accepted.stdout.contains("accepted"), "{}", accepted.stdout);
    assert_eq!(site.check_at("2026-10-07 05:00:00"), Some(0), "accepted: no longer a problem");
    assert_eq!(item(&site.status_at("2026-10-07 05:00:00"), "fresh")["state"], "vanished", "but still known");

    // Renamed: the old one is gone, and its new name is reported.
    site.server.psql("postgres", &format!("ALTER DATABASE {} RENAME TO renamed", quote(old)));
    site.backup_at("2026-10-08 02:00:00").ok();
    let ledger = site.status_at("2026-10-08 03:00:00");
    let why = item(&ledger, old)["why"].as_str().unwrap();
    assert!(why.contains("renamed is new and holds the same content"), "{why}");
    assert_eq!(item(&ledger, "renamed")["state"], "protected");
    let told = site.messages();
    assert_eq!(lines(&told[0]["new"]), [format!("pg/{old}: vanished")]);
    site.at("2026-10-08 04:00:00").args(["accept", "pg"]).run().ok();

    // Forbidden: it exists and cannot be backed up.
    site.forbid("shop");
    site.backup_at("2026-10-09 02:00:00").expect_code(3);
    let ledger = site.status_at("2026-10-09 03:00:00");
    let shop = item(&ledger, "shop");
    assert_eq!((shop["state"].as_str(), shop["snapshots"].as_u64()), (Some("failed"), Some(4)));
    assert_eq!(shop["since"].as_str().unwrap()[..10], *"2026-10-09");
    assert_eq!(lines(&site.messages()[0]["new"]), ["pg/shop: failed"]);
    site.backup_at("2026-10-10 02:00:00").expect_code(3);
    let ledger = site.status_at("2026-10-10 03:00:00");
    assert_eq!(
        item(&ledger, "shop")["since"].as_str().unwrap()[..10],
        *"2026-10-09",
        "since it first failed"
    );
    let told = site.messages();
    assert_eq!(told.len(), 1);
    assert_eq!(lines(&told[0]["new"]), ["pg/shop: late"], "meanwhile its last good snapshot is too old");
    assert_eq!(lines(&told[0]["persisting"]), ["pg/shop: failed"]);

    // Allowed again: resolved. And the vanished one is created again.
    site.allow("shop");
    site.server.create_database("fresh");
    fill(&site.server, "fresh", "t", 10);
    site.backup_at("2026-10-11 02:00:00").ok();
    let told = site.messages();
    assert_eq!(lines(&told[0]["recovered"]), ["pg/shop: failed", "pg/shop: late"]);
    let ledger = site.status_at("2026-10-11 03:00:00");
    assert_eq!(item(&ledger, "fresh")["state"], "protected");
    assert_eq!(item(&ledger, "fresh")["snapshots"], 2, "the old one and the new one");
}

#[test]
fn a_server_that_is_away_is_one_failure_and_nothing_vanishes() {
    let Some(mut site) = Site::new(&["a", "b"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    site.server.stop();
    site.backup_at("2026-10-06 02:00:00").expect_code(1);
    let told = site.messages();
    assert_eq!(lines(&told[0]["new"]), ["pg: failed"]);
    let ledger = site.status_at("2026-10-06 03:00:00");
    assert_eq!(item(&ledger, "a")["state"], "protected", "it has a good snapshot that is young enough");
    let pg = ledger["items"].as_array().unwrap().iter().find(|entry| entry["item"].is_null()).unwrap();
    assert_eq!(pg["state"], "failed");
    // An item that stays away becomes late.
    site.at("2026-10-06 15:00:00").arg("watch").run().expect_code(5);
    assert_eq!(lines(&site.messages()[0]["new"]), ["pg/a: late", "pg/b: late"]);
    site.server.restart();
    site.backup_at("2026-10-07 02:00:00").ok();
    let told = site.messages();
    assert_eq!(lines(&told[0]["recovered"]).len(), 3, "{told:#?}");
    assert_eq!(site.check_at("2026-10-07 03:00:00"), Some(0));
}

/// A rule that excludes more than intended.
#[test]
fn what_was_backed_up_and_is_now_excluded_is_told_until_it_is_accepted() {
    let Some(site) = Site::new(&["shop", "small"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    let text = std::fs::read_to_string(site.config.path()).unwrap();
    std::fs::write(
        site.config.path(),
        text.replace("globals = false", "globals = false\nexclude = [\"s*l\"]"),
    )
    .unwrap();
    site.backup_at("2026-10-06 02:00:00").ok();
    assert_eq!(lines(&site.messages()[0]["new"]), ["pg/small: excluded"]);
    let ledger = site.status_at("2026-10-06 03:00:00");
    assert_eq!(item(&ledger, "small")["state"], "excluded");
    assert_eq!(site.check_at("2026-10-06 03:00:00"), Some(5));
    site.at("2026-10-06 04:00:00").args(["accept", "pg/small"]).run().ok();
    assert_eq!(site.check_at("2026-10-06 05:00:00"), Some(0));
    // The server hides it: the configuration is unchanged.
    site.server.psql("postgres", "ALTER DATABASE shop ALLOW_CONNECTIONS false");
    site.backup_at("2026-10-07 02:00:00");
    assert!(lines(&site.messages()[0]["new"]).contains(&"pg/shop: excluded".to_owned()));
    site.server.psql("postgres", "ALTER DATABASE shop ALLOW_CONNECTIONS true");
    site.backup_at("2026-10-08 02:00:00").ok();
    assert!(lines(&site.messages()[0]["recovered"]).contains(&"pg/shop: excluded".to_owned()));
}
