//! `[[alerts]]` and `[anomalies]`.

use std::time::Duration;

use super::{problems, with};
use crate::config::{AlertKind, AnomalyRules, SmtpTls};

#[test]
fn channels_get_names_of_their_own_and_defaults() {
    let config = with(
        "[[alerts]]\nkind = \"webhook\"\nurl_file = \"a\"\n[[alerts]]\nkind = \"webhook\"\nurl_file = \"b\"\n\
         [[alerts]]\nkind = \"email\"\nname = \"night\"\nsources = [\"pg*\"]\nsmtp_host = \"mail\"\n\
         from = \"A <a@b.example>\"\nto = [\"c@d.example\"]\n",
    )
    .unwrap();
    let names: Vec<_> = config.alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names, ["webhook", "webhook-2", "night"]);
    assert!(config.alerts[0].sources.matched("anything").is_some());
    assert!(config.alerts[2].sources.matched("files").is_none());
    assert_eq!((config.alerts[0].timeout, config.alerts[0].tries), (Duration::from_secs(30), 4));
    let AlertKind::Email(email) = &config.alerts[2].kind else { panic!("no mail") };
    assert_eq!((email.tls, email.smtp_port, &email.login), (SmtpTls::Starttls, 587, &None));
    assert_eq!(config.remind_every, Duration::from_secs(86_400));
}

#[test]
fn a_source_overrides_single_rules_of_what_is_suspicious() {
    let config = with(
        "[anomalies]\nrows_lost = 80\nunchanged = \"0s\"\n[sources.a]\nkind = \"postgres\"\n\
         [sources.b]\nkind = \"postgres\"\nmax_age = \"8d\"\nanomalies = { min_rows = 5 }\n",
    )
    .unwrap();
    let a = AnomalyRules { rows_lost: 80, unchanged: Duration::ZERO, ..AnomalyRules::default() };
    assert_eq!(config.source("a").unwrap().anomalies, a);
    assert_eq!(config.source("b").unwrap().anomalies, AnomalyRules { min_rows: 5, ..a });
    assert_eq!(config.source("b").unwrap().max_age, Some(Duration::from_secs(8 * 86_400)));
    assert_eq!(config.source("a").unwrap().max_age, None);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, part) in [
        ("[alerts]\nkind = \"webhook\"\n", "alerts: must be a list of tables, each begun with [[alerts]]"),
        (
            "[[alerts]]\nurl_file = \"a\"\n",
            "missing: the kind of alert, one of: webhook, ntfy, email, heartbeat",
        ),
        ("[[alerts]]\nkind = \"webhok\"\n", "did you mean \"webhook\"?"),
        (
            "[[alerts]]\nkind = \"webhook\"\nurl = \"https://x\"\n",
            "put it into a file and name that file in \"url_file\"",
        ),
        (
            "[[alerts]]\nkind = \"webhook\"\nurl_file = \"a\"\nformat = \"slak\"\n",
            "must be one of \"plain\", \"slack\"",
        ),
        ("[[alerts]]\nkind = \"webhook\"\nurl_file = \"a\"\nformat = \"telegram\"\n", "chat_id: missing"),
        (
            "[[alerts]]\nkind = \"webhook\"\nurl_file = \"a\"\nchat_id = 5\n",
            "belongs to format = \"telegram\"",
        ),
        ("[[alerts]]\nkind = \"ntfy\"\n", "the topic, or topic_file"),
        ("[[alerts]]\nkind = \"ntfy\"\ntopic = \"a\"\ntopic_file = \"b\"\n", "not both"),
        (
            "[[alerts]]\nkind = \"email\"\nsmtp_host = \"m\"\nfrom = \"a@b.example\"\nto = []\n",
            "the list is empty",
        ),
        (
            "[[alerts]]\nkind = \"email\"\nsmtp_host = \"m\"\nfrom = \"nobody\"\nto = [\"a@b.example\"]\n",
            "is not an e-mail address",
        ),
        (
            "[[alerts]]\nkind = \"email\"\nsmtp_host = \"mail.example\"\ntls = \"none\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\n",
            "is for a mail server on this machine",
        ),
        (
            "[[alerts]]\nkind = \"heartbeat\"\nurl_file = \"a\"\nname = \"x\"\n[[alerts]]\nkind = \"heartbeat\"\nurl_file = \"a\"\nname = \"x\"\n",
            "another alert has the name \"x\" as well",
        ),
        ("[[alerts]]\nkind = \"heartbeat\"\nurl_file = \"a\"\nsources = []\n", "would send nothing"),
        ("[anomalies]\nrows_lost = 100\n", "must be from 0 to 99"),
        ("[anomalies]\nrow_lost = 5\n", "did you mean \"rows_lost\"?"),
        ("[sources.a]\nkind = \"postgres\"\nschedule = \"25:00\"\n", "is not a calendar expression"),
    ] {
        let found = problems(with(text));
        assert!(found.iter().any(|problem| problem.contains(part)), "{text}: {found:#?}");
    }
}

#[test]
fn an_alert_for_a_source_that_is_not_there_is_refused() {
    let config = |sources: &str| {
        with(&format!(
            "[sources.d]\nkind = \"directory\"\npaths = [\"/srv\"]\n[sources.db]\nkind = \"postgres\"\n\
             [[alerts]]\nkind = \"heartbeat\"\nurl_file = \"u\"\nsources = {sources}\n"
        ))
    };
    assert_eq!(
        problems(config("[\"dd\", \"d\"]")),
        ["12: alerts[1].sources: there is no source \"dd\"; did you mean \"d\"?"]
    );
    let config = config("[\"d*\", \"x*\", \"db\"]").unwrap();
    assert_eq!(config.alerts[0].unmatched(&["d", "db"]), ["x*"]);
}
