//! The keys of each kind of `[[alerts]]`: accepted values, and messages about the others.

use std::time::Duration;

use super::*;

/// One channel: `[[alerts]]` stands in line 4, `keys` start in line 5.
fn alert(keys: &str) -> Result<Config> {
    with(&format!("[[alerts]]\n{keys}"))
}

fn kind(keys: &str) -> AlertKind {
    alert(keys).unwrap().alerts.remove(0).kind
}

fn file(name: &str, key: &str) -> SecretFile {
    SecretFile::at(format!("alerts[1].{key}"), Path::new("/etc/tik").join(name))
}

#[test]
fn names_are_given_or_made_from_the_kind() {
    let hook = "[[alerts]]\nkind = \"webhook\"\nurl_file = \"u\"\n";
    let beat = "[[alerts]]\nkind = \"heartbeat\"\nurl_file = \"u\"\n";
    let config = with(&format!("{hook}{beat}{hook}name = \"night\"\n{hook}")).unwrap();
    let names: Vec<_> = config.alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names, ["webhook", "heartbeat", "night", "webhook-2"]);
    one_problem(
        with(&format!("{hook}name = \"a\"\n{hook}name = \"a\"\n")),
        "11: alerts[2].name: another alert has the name \"a\" as well",
    );
}

#[test]
fn sources_and_timeout_have_defaults_and_bounds() {
    let defaults = alert("kind = \"webhook\"\nurl_file = \"u\"\n").unwrap().alerts.remove(0);
    assert_eq!((defaults.timeout, defaults.tries), (Duration::from_secs(30), 4));
    assert!(defaults.sources.matched("anything").is_some());
    let keys = "kind = \"webhook\"\nurl_file = \"u\"\nsources = [\"pg*\"]\ntimeout = \"10m\"\n";
    let given = alert(keys).unwrap().alerts.remove(0);
    assert_eq!(given.timeout, Duration::from_secs(600));
    assert!(given.sources.matched("pg-1").is_some() && given.sources.matched("my").is_none());
    one_problem(
        alert("kind = \"webhook\"\nurl_file = \"u\"\ntimeout = \"11m\"\n"),
        "7: alerts[1].timeout: must be from 1s to 10m, not \"11m\"",
    );
    one_problem(
        alert("kind = \"webhook\"\nurl_file = \"u\"\ntries = 0\n"),
        "7: alerts[1].tries: must be from 1 to 8, not 0",
    );
    one_problem(
        alert("kind = \"webhook\"\nurl_file = \"u\"\nsources = []\n"),
        "7: alerts[1].sources: an empty list would send nothing; leave the key out for all sources",
    );
}

#[test]
fn a_webhook_has_its_url_in_a_file_and_telegram_a_chat() {
    let AlertKind::Webhook(hook) = kind("kind = \"webhook\"\nurl_file = \"u\"\ntoken_file = \"t\"\n") else {
        panic!()
    };
    assert_eq!((hook.url_file, hook.format), (file("u", "url_file"), WebhookFormat::Plain));
    assert_eq!((hook.token_file, hook.chat_id), (Some(file("t", "token_file")), None));
    for (chat, expected) in [("-1001234", "-1001234"), ("1_000", "1000"), ("\"@night\"", "@night")] {
        let keys = format!("kind = \"webhook\"\nurl_file = \"u\"\nformat = \"telegram\"\nchat_id = {chat}\n");
        let AlertKind::Webhook(hook) = kind(&keys) else { panic!() };
        assert_eq!(hook.chat_id.as_deref(), Some(expected));
    }
    one_problem(
        alert("kind = \"webhook\"\nurl_file = \"u\"\nformat = \"telegram\"\n"),
        "4: alerts[1].chat_id: missing: the id of the chat, as a number or \"@name\"",
    );
    one_problem(
        alert("kind = \"webhook\"\nurl_file = \"u\"\nchat_id = 1\n"),
        "7: alerts[1].chat_id: belongs to format = \"telegram\"",
    );
    one_problem(
        alert("kind = \"webhook\"\n"),
        "4: alerts[1].url_file: missing: the path of a file that holds the URL",
    );
}

#[test]
fn urls_and_tokens_are_refused_as_secrets_and_not_repeated() {
    for (keys, name) in [
        ("kind = \"webhook\"\nurl = \"https://h/5ecret\"\nurl_file = \"u\"\n", "url"),
        ("kind = \"webhook\"\ntoken = \"5ecret\"\nurl_file = \"u\"\n", "token"),
        ("kind = \"heartbeat\"\nurl = \"https://h/5ecret\"\nurl_file = \"u\"\n", "url"),
    ] {
        one_problem(
            alert(keys),
            &format!(
                "6: alerts[1].{name}: a secret must not be in the configuration: \
                 put it into a file and name that file in \"{name}_file\""
            ),
        );
    }
}

#[test]
fn ntfy_has_a_server_and_a_topic_from_one_place() {
    let AlertKind::Ntfy(ntfy) = kind("kind = \"ntfy\"\ntopic = \"a-5ecret_topic\"\n") else { panic!() };
    assert_eq!((ntfy.url.as_str(), &ntfy.topic), ("https://ntfy.sh", &Topic::Given("a-5ecret_topic".into())));
    assert!(!format!("{ntfy:?}").contains("5ecret"), "{ntfy:?}");
    let AlertKind::Ntfy(ntfy) = kind("kind = \"ntfy\"\nurl = \"http://[::1]:80/\"\ntopic_file = \"t\"\n")
    else {
        panic!()
    };
    assert_eq!((ntfy.url.as_str(), ntfy.topic), ("http://[::1]:80", Topic::File(file("t", "topic_file"))));
    let url = "5: alerts[1].url: must be the plain URL of a server, such as \"https://ntfy.sh\"; http:// only \
               leads to this machine";
    for bad in ["http://ntfy.example.org", "ntfy.sh", "https://", "https://u@ntfy.sh", "http://[::2]:80"] {
        one_problem(alert(&format!("url = \"{bad}\"\nkind = \"ntfy\"\ntopic = \"t\"\n")), url);
    }
    one_problem(
        alert("kind = \"ntfy\"\ntopic = \"a topic\"\n"),
        "6: alerts[1].topic: must be 1 to 64 of A-Z a-z 0-9 _ -",
    );
    one_problem(
        alert("kind = \"ntfy\"\n"),
        "4: alerts[1].topic: missing: the topic, or topic_file with the path of a file that holds it",
    );
    one_problem(
        alert("kind = \"ntfy\"\ntopic = \"a\"\ntopic_file = \"b\"\n"),
        "7: alerts[1].topic_file: give either topic or topic_file, not both",
    );
}

const MAIL: &str = "kind = \"email\"\nsmtp_host = \"m.example.org\"\nfrom = \"a@b.c\"\nto = [\"d@e.f\"]\n";

#[test]
fn the_port_of_mail_follows_from_its_protection() {
    let port = |more: &str| {
        let AlertKind::Email(mail) = kind(&format!("{MAIL}{more}")) else { panic!() };
        (mail.tls, mail.smtp_port)
    };
    assert_eq!(port(""), (SmtpTls::Starttls, 587));
    assert_eq!(port("tls = \"tls\"\n"), (SmtpTls::Tls, 465));
    assert_eq!(port("smtp_port = 2525\n"), (SmtpTls::Starttls, 2525));
    let local = MAIL.replace("m.example.org", "localhost");
    let AlertKind::Email(mail) = kind(&format!("{local}tls = \"none\"\n")) else { panic!() };
    assert_eq!((mail.tls, mail.smtp_port, mail.login), (SmtpTls::None, 25, None));
}

#[test]
fn mail_without_protection_stays_on_this_machine_and_has_no_password() {
    let refused = "9: alerts[1].tls: \"none\" is for a mail server on this machine, and without a user";
    one_problem(alert(&format!("{MAIL}tls = \"none\"\n")), refused);
    let local = MAIL.replace("m.example.org", "localhost");
    one_problem(alert(&format!("{local}tls = \"none\"\nuser = \"u\"\npassword_file = \"p\"\n")), refused);
}

#[test]
fn a_login_is_whole_and_addresses_are_addresses() {
    let AlertKind::Email(mail) = kind(&format!("{MAIL}user = \"u\"\npassword_file = \"p\"\n")) else {
        panic!()
    };
    assert_eq!(mail.login, Some(("u".to_owned(), file("p", "password_file"))));
    one_problem(
        alert(&format!("{MAIL}user = \"u\"\n")),
        "4: alerts[1].password_file: missing: the path of a file that holds the password of `user`",
    );
    one_problem(
        alert(&format!("{MAIL}password_file = \"p\"\n")),
        "4: alerts[1].user: missing: the user whose password `password_file` holds",
    );
    one_problem(
        alert(&MAIL.replace("d@e.f", "nobody")),
        "8: alerts[1].to: \"nobody\" is not an e-mail address",
    );
    one_problem(
        alert(&MAIL.replace("[\"d@e.f\"]", "[]")),
        "8: alerts[1].to: the list is empty; give at least one address",
    );
    assert!(alert(&MAIL.replace("a@b.c", "Größe <a@b.c>")).is_ok());
}

#[test]
fn what_is_not_known_is_named_with_its_place() {
    one_problem(alert("kind = \"webhook\"\nurl_file = \"u\"\nsorces = []\n"), {
        "7: alerts[1].sorces: unknown key; did you mean \"sources\"?"
    });
    one_problem(
        alert("kind = \"webhok\"\n"),
        "5: alerts[1].kind: unknown kind of alert \"webhok\"; the kinds are: webhook, ntfy, email, heartbeat; \
         did you mean \"webhook\"?",
    );
    one_problem(
        alert("url_file = \"u\"\n"),
        "4: alerts[1].kind: missing: the kind of alert, one of: webhook, ntfy, email, heartbeat",
    );
    one_problem(
        with("[alerts]\nkind = \"webhook\"\n"),
        "4: alerts: must be a list of tables, each begun with [[alerts]]",
    );
    let texts = problems(parse(&format!("alerts = [\"x\"]\n{REPOSITORY}")));
    assert!(texts[0].starts_with("1: alerts[1]: must be a table"), "{texts:?}");
}

#[test]
fn every_file_with_a_secret_is_looked_at() {
    let count = |keys: &str| alert(keys).unwrap().alerts[0].secret_files().len();
    assert_eq!(count("kind = \"webhook\"\nurl_file = \"u\"\ntoken_file = \"t\"\n"), 2);
    assert_eq!(count("kind = \"ntfy\"\ntopic_file = \"u\"\ntoken_file = \"t\"\n"), 2);
    assert_eq!(count("kind = \"ntfy\"\ntopic = \"u\"\n"), 0);
    assert_eq!(count(&format!("{MAIL}user = \"u\"\npassword_file = \"p\"\n")), 1);
    assert_eq!(count("kind = \"heartbeat\"\nurl_file = \"u\"\n"), 1);
}
