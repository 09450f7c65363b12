//! Alerts through a real receiver that fails, hangs, is down and comes back.

use std::{thread, time::Duration};

use serde_json::json;
use testkit::{
    program::quoted,
    receiver::{Mode, Receiver},
    site::{More, Site, lines},
};

/// Fails `shop`.
fn forbid(site: &Site) {
    site.forbid("shop");
}

fn busy(status: u16) -> Mode {
    Mode::Answer(status, "", "busy".to_owned())
}

#[test]
fn a_receiver_that_fails_for_a_while_gets_one_message() {
    let Some(site) = Site::new(&["shop", "other"], More::default()) else { return };
    forbid(&site);
    let next = [busy(503), Mode::BreakOff, Mode::Answer(429, "Retry-After: 1\r\n", String::new())];
    site.receiver.answer_next(next);
    let report = site.backup_at("2026-10-05 02:00:00").expect_code(3).json();
    assert_eq!(report["alerts"], json!({"sent": 1, "failed": []}));
    let sent = site.receiver.take();
    assert_eq!(sent.len(), 4, "three that failed and one that arrived");
    let arrived = sent[3].json();
    assert_eq!(lines(&arrived["new"]), ["pg/shop: failed"]);
    let text = arrived["text"].as_str().unwrap();
    assert!(text.contains("since 2026-10-05 02:00") && text.contains("→ "), "{text}");
    assert_eq!(sent[3].header("user-agent").unwrap().split('/').next(), Some("tik-backup"));
}

#[test]
fn what_cannot_be_delivered_waits_shows_and_arrives_with_the_next_run() {
    let Some(mut site) = Site::new(&["shop", "other"], More { hook: "tries = 2", ..More::default() }) else {
        return;
    };
    forbid(&site);
    site.receiver.down();
    let run = site.backup_at("2026-10-05 02:00:00").expect_code(3);
    assert!(run.stderr.contains("COULD NOT ALERT"), "{}", run.stderr);
    assert_eq!(run.json()["alerts"]["failed"][0]["channel"], "webhook");
    let ledger = site.status_at("2026-10-05 03:00:00");
    let channel = &ledger["alerts"][0];
    assert_eq!((&channel["waiting"], &channel["last_delivery"]), (&json!(1), &json!(null)));
    assert_eq!(channel["failing_since"].as_str().unwrap()[..10], *"2026-10-05");
    let text = site.at("2026-10-05 03:00:00").arg("status").run().ok().stdout;
    assert!(text.contains("alerts through webhook do not arrive"), "{text}");
    assert!(text.contains("; 1 message waits for the next run"), "{text}");

    site.receiver.up();
    let watch = site.at("2026-10-05 04:00:00").args(["-v", "watch"]).run().expect_code(5);
    assert!(watch.stderr.contains("an alert was sent channel=webhook"), "{}", watch.stderr);
    let told = site.messages();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (lines(&told[0]["new"]), &told[0]["at"].as_str().unwrap()[..10]),
        (vec!["pg/shop: failed".to_owned()], "2026-10-05")
    );
    let ledger = site.status_at("2026-10-05 05:00:00");
    assert_eq!(
        (&ledger["alerts"][0]["waiting"], &ledger["alerts"][0]["failing_since"]),
        (&json!(0), &json!(null))
    );
    site.at("2026-10-05 06:00:00").arg("watch").run().expect_code(5);
    assert_eq!(site.messages().len(), 0, "what arrived is not sent again");
}

#[test]
fn failure_to_alert_fails_an_otherwise_good_run() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    forbid(&site);
    site.receiver.answer(Mode::Answer(404, "", "no such hook".to_owned()));
    site.backup_at("2026-10-06 02:00:00").expect_code(1);
    assert_eq!(site.receiver.take().len(), 1, "a 404 is not tried again");
    site.allow("shop");
    let run = site.backup_at("2026-10-07 02:00:00").expect_code(1);
    assert_eq!(run.json()["outcome"], "ok");
    assert!(run.stderr.contains("no such hook"), "{}", run.stderr);
    assert_eq!(site.check_at("2026-10-07 03:00:00"), Some(5), "nobody would be told");
    site.receiver.answer(Mode::ok());
    site.backup_at("2026-10-08 02:00:00").ok();
    assert_eq!(
        site.messages().len(),
        3,
        "one more that failed, and two that arrived: the failure and its end"
    );
}

#[test]
fn a_receiver_that_hangs_does_not_hold_up_the_run() {
    let Some(site) =
        Site::new(&["shop", "other"], More { hook: "timeout = \"1s\"\ntries = 2", ..More::default() })
    else {
        return;
    };
    forbid(&site);
    site.receiver.answer(Mode::Hang);
    let run = site
        .at("2026-10-05 02:00:00")
        .args(["--json", "backup"])
        .limit(Duration::from_secs(120))
        .run()
        .expect_code(3);
    let error = run.json()["alerts"]["failed"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("did not answer in time"), "{error}");
}

#[test]
fn a_redirect_is_not_followed() {
    let Some(site) = Site::new(&["shop", "other"], More::default()) else { return };
    let other = Receiver::start();
    forbid(&site);
    let location: &'static str = format!("Location: {}\r\n", other.url("/elsewhere")).leak();
    site.receiver.answer(Mode::Answer(302, location, String::new()));
    let run = site.backup_at("2026-10-05 02:00:00").expect_code(3);
    let error = run.json()["alerts"]["failed"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("302") && error.contains("correct the URL"), "{error}");
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn channels_hear_of_their_sources_only() {
    let (first, second) = (Receiver::start(), Receiver::start());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, receiver: &Receiver| {
        let path = folder.path().join(name);
        std::fs::write(&path, receiver.url("/x")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        quoted(&path.display().to_string())
    };
    let tables = format!(
        "[[alerts]]\nkind = \"webhook\"\nname = \"databases\"\nsources = [\"p*\"]\nurl_file = {}\n\
         [[alerts]]\nkind = \"webhook\"\nname = \"files\"\nsources = [\"files\"]\nurl_file = {}\n\
         [sources.files]\nkind = \"directory\"\npaths = [\"/nowhere/at/all\"]\n",
        file("a", &first),
        file("b", &second)
    );
    let Some(site) = Site::new(&["shop", "other"], More { tables: &tables, ..More::default() }) else {
        return;
    };
    forbid(&site);
    site.backup_at("2026-10-05 02:00:00").expect_code(3);
    let told =
        |receiver: &Receiver| receiver.take().iter().map(|r| lines(&r.json()["new"])).collect::<Vec<_>>();
    assert_eq!(told(&first), [["pg/shop: failed"]]);
    assert_eq!(told(&second), [["files/all: failed"]]);
    assert_eq!(told(&site.receiver), [["files/all: failed", "pg/shop: failed"]]);
}

#[test]
fn heartbeats_say_begin_success_and_failure_and_are_never_sent_late() {
    let mut beats = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("beat");
    std::fs::write(&path, beats.url("/ping/uuid-5ecret")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tables = format!(
        "[[alerts]]\nkind = \"heartbeat\"\ntries = 2\nurl_file = {}\n",
        quoted(&path.display().to_string())
    );
    let Some(site) = Site::new(&["shop", "other"], More { tables: &tables, ..More::default() }) else {
        return;
    };
    site.backup_at("2026-10-05 02:00:00").ok();
    let sent = beats.take();
    let paths: Vec<_> = sent.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/ping/uuid-5ecret/start", "/ping/uuid-5ecret"]);
    let body = sent[1].json();
    let counts = ["discovered", "backed_up", "failed", "proven"].map(|name| body[name].as_u64().unwrap());
    assert_eq!(counts, [2, 2, 0, 0], "{body:#}");

    forbid(&site);
    site.backup_at("2026-10-06 02:00:00").expect_code(3);
    let sent = beats.take();
    assert_eq!(sent[1].path, "/ping/uuid-5ecret/fail");
    assert_eq!(sent[1].json()["failures"][0]["item"], "pg/shop");
    // A run of one item says nothing about the whole.
    site.at("2026-10-06 03:00:00").args(["backup", "pg/other"]).run().ok();
    assert_eq!(beats.take().len(), 0);

    beats.down();
    site.backup_at("2026-10-07 02:00:00").expect_code(3);
    beats.up();
    site.at("2026-10-07 03:00:00").arg("watch").run().expect_code(5);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(beats.take().len(), 0, "a sign of life that comes late would be a lie");
}

#[test]
fn a_test_alert_goes_through_every_channel_and_says_which_do_not_work() {
    let mut second = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, second.url("/x")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tables =
        format!("[[alerts]]\nkind = \"webhook\"\nurl_file = {}\n", quoted(&path.display().to_string()));
    let Some(site) = Site::new(&["shop"], More { tables: &tables, ..More::default() }) else { return };
    let tested = site.at("2026-10-05 02:00:00").args(["alert", "test"]).run().ok();
    assert_eq!(tested.stdout, "webhook (webhook): ok\nwebhook-2 (webhook): ok\n");
    assert!(site.messages()[0]["text"].as_str().unwrap().contains("This is a test"));
    second.down();
    let tested = site.at("2026-10-05 02:00:00").args(["alert", "test"]).run().expect_code(3);
    assert!(
        tested.stdout.contains("webhook-2 (webhook): FAILED: 127.0.0.1: it cannot be reached"),
        "{}",
        tested.stdout
    );
}

#[test]
fn a_failed_unit_is_told_unless_its_run_has_told_by_itself() {
    let Some(site) = Site::new(&["shop", "other"], More::default()) else { return };
    let failed = |invocation: &str| {
        site.at("2026-10-05 03:00:00")
            .env("MONITOR_INVOCATION_ID", invocation)
            .env("MONITOR_SERVICE_RESULT", "oom-kill")
            .args(["alert", "unit-failed", "tik-backup-pg.service"])
            .run()
            .ok()
    };
    forbid(&site);
    site.at("2026-10-05 02:00:00").env("INVOCATION_ID", "aa11").arg("backup").run().expect_code(3);
    assert_eq!(site.messages().len(), 1);
    failed("aa11");
    assert_eq!(site.messages().len(), 0, "one message a run");
    failed("bb22");
    let told = site.messages();
    assert_eq!(told.len(), 1);
    let text = told[0]["text"].as_str().unwrap();
    assert!(text.contains("tik-backup-pg.service: the systemd unit failed, result oom-kill"), "{text}");
}
