//! Requests of every kind of webhook and of ntfy, as received.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use jiff::Zoned;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::receiver::{Mode, Receiver, Request};
use tik_backup::{
    alert::channel,
    config::Config,
    history::message::{Line, Message, Purpose},
    stream::cancel::Cancel,
};

struct ChannelSetup {
    dir: TempDir,
    receiver: Receiver,
}

impl ChannelSetup {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), receiver: Receiver::start() }
    }

    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, format!("{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Sends a message through a channel with these lines of configuration.
    fn send(&self, lines: &str, message: &Message) -> Result<Request, String> {
        self.secret("password", "x");
        let text = format!(
            "[repository]\nlocation = \"r\"\npassword_file = \"password\"\n[[alerts]]\n{lines}\ntimeout = \"2s\"\n"
        );
        let config = Config::parse(&text, &self.dir.path().join("c.toml")).map_err(|e| e.to_string())?;
        let channel = channel::open(&config.alerts[0]).map_err(|e| e.to_string())?.unwrap();
        channel.send(message, &Cancel::new()).map_err(|refused| refused.error.to_string())?;
        Ok(self.receiver.take().remove(0))
    }

    fn webhook(&self, format: &str, message: &Message) -> Value {
        self.secret("url", &self.receiver.url("/hook"));
        let more = if format == "telegram" { "\nchat_id = -100123" } else { "" };
        let lines = format!("kind = \"webhook\"\nurl_file = \"url\"\nformat = \"{format}\"{more}");
        let request = self.send(&lines, message).unwrap();
        assert_eq!(request.header("content-type"), Some("application/json"));
        request.json()
    }
}

/// Markup of every receiver, in the name of a database.
const NAME: &str = "pg/<@here> *b* _i_ [l](http://e) ``` @everyone & \"ü\"";

fn message(lines: usize) -> Message {
    let line = |number: usize| Line {
        subject: if number == 0 { NAME.to_owned() } else { format!("pg/item {number}") },
        kind: "failed".to_owned(),
        text: format!("pg_dump failed {number}\nlast words"),
        since: Some("2026-10-05T02:00:00+00:00[UTC]".parse::<Zoned>().unwrap()),
        hint: Some("mend it".to_owned()),
        ..Line::default()
    };
    Message {
        purpose: Purpose::Problem,
        at: "2026-10-05T03:00:00+00:00[UTC]".parse().unwrap(),
        host: "db1".to_owned(),
        new: (0..lines).map(line).collect(),
        persisting: Vec::new(),
        recovered: Vec::new(),
        remarks: Vec::new(),
    }
}

#[test]
fn plain_has_everything() {
    let sent = ChannelSetup::new().webhook("plain", &message(1));
    assert_eq!(
        (&sent["purpose"], &sent["host"], &sent["new"][0]["subject"]),
        (&json!("problem"), &json!("db1"), &json!(NAME))
    );
    assert_eq!(sent["title"].as_str().unwrap(), format!("tik-backup on db1: 1 FAILED ({NAME})"));
    let text = sent["text"].as_str().unwrap();
    assert!(text.contains(NAME) && text.contains("→ mend it"), "{text}");
}

#[test]
fn slack_gets_its_three_signs_escaped() {
    let sent = ChannelSetup::new().webhook("slack", &message(1));
    let text = sent["text"].as_str().unwrap();
    assert!(text.contains("&lt;@here&gt;") && text.contains("&amp;") && !text.contains("<@here>"), "{text}");
    assert_eq!(text.matches("```").count(), 2, "only our own fence: {text}");
}

#[test]
fn mattermost_and_discord_take_names_for_text() {
    for format in ["mattermost", "discord"] {
        let sent = ChannelSetup::new().webhook(format, &message(1));
        let text = sent[if format == "discord" { "content" } else { "text" }].as_str().unwrap();
        assert!(text.contains("\\*b\\*") && text.contains("@\u{200b}everyone"), "{text}");
        assert_eq!(text.matches("```").count(), 2, "only our own fence: {text}");
    }
    let sent = ChannelSetup::new().webhook("discord", &message(1));
    assert_eq!(sent["allowed_mentions"], json!({"parse": []}));
}

#[test]
fn long_messages_fit_and_say_what_was_left_out() {
    for (format, limit) in [("discord", 2000), ("telegram", 4096), ("slack", 40_000), ("mattermost", 16_383)]
    {
        let sent = ChannelSetup::new().webhook(format, &message(2000));
        let text = sent[if format == "discord" { "content" } else { "text" }].as_str().unwrap();
        assert!(text.encode_utf16().count() <= limit, "{format}: {}", text.len());
        assert!(text.contains("more lines: see `tik-backup status`"), "{format}");
        assert!(text.contains("pg_dump failed 0"), "the first comes first: {format}");
    }
}

#[test]
fn teams_gets_an_adaptive_card() {
    let sent = ChannelSetup::new().webhook("teams", &message(2));
    let attachment = &sent["attachments"][0];
    assert_eq!(
        (&sent["type"], &attachment["contentType"]),
        (&json!("message"), &json!("application/vnd.microsoft.card.adaptive"))
    );
    let body = attachment["content"]["body"].as_array().unwrap();
    assert!(body.len() > 6 && body.iter().all(|block| block["type"] == "RichTextBlock"));
    assert!(ChannelSetup::new().webhook("teams", &message(2000)).to_string().len() < 28_000);
}

#[test]
fn telegram_gets_the_chat_and_may_say_no_in_a_success() {
    let setup = ChannelSetup::new();
    let sent = setup.webhook("telegram", &message(1));
    assert_eq!((&sent["chat_id"], sent.get("parse_mode")), (&json!("-100123"), None));
    let no = "{\"ok\":false,\"description\":\"chat not found\"}".to_owned();
    setup.receiver.answer(Mode::Answer(200, "", no));
    setup.secret("url", &setup.receiver.url("/bot123:S3cret/sendMessage"));
    let lines = "kind = \"webhook\"\nurl_file = \"url\"\nformat = \"telegram\"\nchat_id = \"@x\"";
    let error = setup.send(lines, &message(1)).unwrap_err();
    assert!(error.contains("chat not found"), "{error}");
}

#[test]
fn ntfy_is_published_as_json() {
    let setup = ChannelSetup::new();
    setup.secret("topic", "a-5ecret-topic");
    setup.secret("token", "tk_5ecret");
    let lines = format!(
        "kind = \"ntfy\"\nurl = \"{}\"\ntopic_file = \"topic\"\ntoken_file = \"token\"",
        setup.receiver.url("")
    );
    let request = setup.send(&lines, &message(2000)).unwrap();
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/", Some("Bearer tk_5ecret")));
    let sent = request.json();
    assert_eq!((&sent["topic"], &sent["priority"]), (&json!("a-5ecret-topic"), &json!(4)));
    assert!(sent["message"].as_str().unwrap().len() <= 4096);
    setup.receiver.answer(Mode::Answer(403, "", "no to tk_5ecret for a-5ecret-topic".to_owned()));
    let error = setup.send(&lines, &message(1)).unwrap_err();
    assert!(error.contains("403") && !error.contains("5ecret"), "{error}");
}

/// The URL is secret: errors must not show it, even if the receiver repeats it.
#[test]
fn no_error_shows_the_url() {
    let mut setup = ChannelSetup::new();
    let path = "/services/T000/B000/s3cr3tpart?key=als0secret";
    setup.secret("url", &setup.receiver.url(path));
    let lines = "kind = \"webhook\"\nurl_file = \"url\"";
    let answers = [
        Mode::Answer(500, "", format!("cannot {path}")),
        Mode::Answer(404, "", "no s3cr3tpart here".to_owned()),
        Mode::BreakOff,
        Mode::Hang,
    ];
    for answer in answers {
        setup.receiver.answer(answer);
        let error = setup.send(lines, &message(1)).unwrap_err();
        assert!(!error.contains("s3cr3t") && !error.contains("als0"), "{error}");
    }
    setup.receiver.down();
    let error = setup.send(lines, &message(1)).unwrap_err();
    assert!(!error.contains("s3cr3t") && error.contains("127.0.0.1"), "{error}");
    setup.secret("url", "http://example.com/s3cr3t");
    let error = setup.send(lines, &message(1)).unwrap_err();
    assert!(error.contains("use https://") && !error.contains("s3cr3t"), "{error}");
    setup.secret("url", "not a url s3cr3t");
    let error = setup.send(lines, &message(1)).unwrap_err();
    assert!(error.contains("not valid") && !error.contains("s3cr3t"), "{error}");
}
