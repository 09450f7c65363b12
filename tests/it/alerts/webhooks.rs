//! HTTP: texts of errors, retries, and errors in successful responses.

use std::{thread, time::Duration};

use jiff::{SignedDuration, Timestamp};
use testkit::receiver::{Mode, Receiver};
use tik_backup::{
    alert::channel::{Heartbeat, Phase},
    stream::cancel::Cancel,
};

use super::setup::{ChannelSetup, message};

const HOOK: &str = "kind = \"webhook\"\nurl_file = \"url\"";

fn setup(path: &str) -> (ChannelSetup, Receiver) {
    let (setup, receiver) = (ChannelSetup::new(), Receiver::start());
    setup.secret("url", &receiver.url(path));
    (setup, receiver)
}

fn status(status: u16, body: impl Into<String>) -> Mode {
    Mode::Answer(status, "", body.into())
}

#[test]
fn a_secret_is_hidden_before_the_answer_is_cut() {
    let path = "/hooks/Qk7ZpW3xVt9LmR2sYd8HuJ4n";
    let (setup, receiver) = setup(path);
    let shows_a_part = |error: &str| error.contains("Qk7Zp");
    for padding in (260..310).chain(4060..4100) {
        // The receiver repeats the path where the quoted text, or the read part, ends.
        receiver.answer(status(500, format!("{}{path}", "-".repeat(padding))));
        let error = setup.send(HOOK).unwrap_err().error.to_string();
        assert!(error.contains("500") && !shows_a_part(&error), "{padding}: {error}");
    }
    receiver.answer(status(500, path.repeat(200)));
    let error = setup.send(HOOK).unwrap_err().error.to_string();
    assert!(!shows_a_part(&error), "{error}");
}

#[test]
fn parts_of_the_url_are_hidden_by_themselves() {
    for (path, secret) in [
        ("/bot123456:AAExampleToken/sendMessage", "123456:AAExampleToken"),
        ("/api?thread=1&token=als0-5ecret", "als0-5ecret"),
        ("/hooks/with%20space-5ecret", "with space-5ecret"),
    ] {
        let (setup, receiver) = setup(path);
        receiver.answer(status(401, format!("what is {secret}?")));
        let error = setup.send(HOOK).unwrap_err().error.to_string();
        assert!(error.contains("what is ***?"), "{error}");
    }
    let (setup, receiver) = (ChannelSetup::new(), Receiver::start());
    setup.secret("url", &receiver.url("/x").replace("//", "//user:pa55word@"));
    receiver.answer(status(401, "not pa55word"));
    let error = setup.send(HOOK).unwrap_err().error.to_string();
    assert!(error.contains("not ***"), "{error}");
    assert!(receiver.take()[0].header("authorization").unwrap().starts_with("Basic "));
}

#[test]
fn a_refusal_in_telegrams_success_is_cleaned_as_well() {
    let (setup, receiver) = setup("/bot123456:AAExampleToken/sendMessage");
    receiver.answer(status(200, "{\"ok\":false,\"description\":\"no bot 123456:AAExampleToken\"}"));
    let lines = format!("{HOOK}\nformat = \"telegram\"\nchat_id = 1");
    let error = setup.send(&lines).unwrap_err().error.to_string();
    assert!(error.contains("no bot ***"), "{error}");
}

#[test]
fn what_the_receiver_asks_to_wait_is_understood_in_every_form() {
    let (setup, receiver) = setup("/x");
    let wait = |mode: Mode| {
        receiver.answer(mode);
        let refused = setup.send(HOOK).unwrap_err();
        assert!(!refused.lasting);
        refused.wait
    };
    assert_eq!(wait(Mode::Answer(429, "Retry-After: 7\r\n", String::new())), Some(Duration::from_secs(7)));
    let telegram = "{\"ok\":false,\"error_code\":429,\"parameters\":{\"retry_after\":34}}";
    assert_eq!(wait(status(429, telegram)), Some(Duration::from_secs(34)));
    assert_eq!(wait(status(429, "{\"retry_after\":0.5}")), Some(Duration::from_millis(500)));
    assert_eq!(wait(status(503, "busy")), None);
    assert_eq!(wait(status(429, "{\"retry_after\":-1e300}")), None);
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    let header = format!("Retry-After: {}\r\n", later.strftime("%a, %d %b %Y %H:%M:%S GMT"));
    let asked = wait(Mode::Answer(503, header.leak(), String::new())).unwrap();
    assert!(asked > Duration::from_secs(3000) && asked <= Duration::from_secs(3600), "{asked:?}");
}

#[test]
fn an_answer_says_what_to_do_and_a_page_is_told_by_its_text() {
    let (setup, receiver) = setup("/hooks/Qk7ZpW3xVt9LmR2sYd8HuJ4n");
    let page = "<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>";
    // With the tags removed, this is the secret.
    let divided = "<p>/hooks/Qk7Zp<b></b>W3xVt9LmR2sYd8HuJ4n</p>";
    for (code, body, text, hint) in [
        (502, page, "502 Bad Gateway: nginx", "the server has a fault"),
        (500, "oops\nsorry", "oops sorry", "the server has a fault"),
        (401, "no_token", "no_token", "the URL and the token"),
        (404, divided, "404", "there is nothing at this address"),
        (400, "invalid_payload", "invalid_payload", "`format`"),
        (429, "{\"retry_after\": 90}", "retry_after", "it asks to wait for 90 s"),
    ] {
        receiver.answer(status(code, body));
        let error = setup.send(HOOK).unwrap_err().error;
        assert!(error.summary().contains(text) && !error.summary().contains('<'), "{error}");
        assert!(error.hint_text().unwrap().contains(hint), "{error}");
        assert!(!error.to_string().contains("W3xVt9"), "{error}");
    }
}

#[test]
fn only_what_can_change_is_tried_again() {
    let (setup, receiver) = setup("/x");
    for (code, lasting) in
        [(400, true), (404, true), (302, true), (408, false), (425, false), (429, false), (500, false)]
    {
        receiver.answer(status(code, ""));
        assert_eq!(setup.send(HOOK).unwrap_err().lasting, lasting, "{code}");
    }
    setup.secret("token", "bad\u{1}t0ken");
    let refused = setup.send(&format!("{HOOK}\ntoken_file = \"token\"")).unwrap_err();
    assert!(refused.lasting && !refused.error.to_string().contains("t0ken"), "{}", refused.error);
}

#[test]
fn a_cancelled_send_ends_although_the_receiver_hangs() {
    let (setup, receiver) = setup("/x");
    receiver.answer(Mode::Hang);
    let channel = setup.open(&format!("{HOOK}\ntimeout = \"10m\"")).unwrap();
    let cancel = Cancel::new();
    let later = cancel.clone();
    let asked = thread::spawn(move || {
        while receiver.requests().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        later.cancel("enough");
        receiver
    });
    let refused = channel.send(&message(1), &cancel).unwrap_err();
    assert!(!refused.lasting && refused.error.to_string().contains("stopped"), "{}", refused.error);
    asked.join().unwrap();
}

#[test]
fn one_channel_sends_several_messages() {
    let (setup, receiver) = setup("/x");
    let channel = setup.open(HOOK).unwrap();
    for _ in 0..3 {
        channel.send(&message(1), &Cancel::new()).unwrap();
    }
    assert_eq!(receiver.take().len(), 3);
}

/// Healthchecks answers 200 even if there is no such check, for compatibility with old clients.
#[test]
fn a_heartbeat_that_nobody_counts_is_no_success() {
    let (setup, receiver) = setup("/ping/0000-uuid");
    let heartbeat =
        Heartbeat::open(&setup.config("kind = \"heartbeat\"\nurl_file = \"url\"")).unwrap().unwrap();
    let ping = |answer: &str| {
        receiver.answer(status(200, answer));
        heartbeat.ping(Phase::Success, "{}", &Cancel::new())
    };
    assert!(ping("OK").is_ok() && ping("").is_ok());
    let refused = ping("OK (not found)\n").unwrap_err();
    assert!(refused.lasting && refused.error.to_string().contains("no such check"), "{}", refused.error);
    let refused = ping("OK (rate limited)").unwrap_err();
    assert!(!refused.lasting, "{}", refused.error);
}

#[test]
fn a_card_for_teams_stays_below_28_kb_and_its_names_stay_text() {
    let (setup, receiver) = setup("/x");
    let channel = setup.open(&format!("{HOOK}\nformat = \"teams\"")).unwrap();
    let mut many = message(3000);
    many.new[0].subject = "pg/_i_ **b** [l](http://e)".to_owned();
    channel.send(&many, &Cancel::new()).unwrap();
    let sent = receiver.take().remove(0);
    assert!(sent.body.len() < 28_000, "{}", sent.body.len());
    let sent = sent.json();
    let body = sent["attachments"][0]["content"]["body"].as_array().unwrap();
    // Only text runs do not render Markdown.
    assert!(body.iter().all(|block| block["type"] == "RichTextBlock"), "{body:?}");
    let text = |index: usize| body[index]["inlines"][0]["text"].as_str().unwrap();
    assert!(text(1).contains("pg/_i_ **b** [l](http://e): pg_dump ended"), "{}", text(1));
    assert!(text(body.len() - 1).contains("more lines"), "{}", text(body.len() - 1));
}

#[test]
fn a_line_that_is_too_long_by_itself_is_shown_as_far_as_it_fits() {
    for (format, key, limit, more) in [
        ("discord", "content", 2000, ""),
        ("telegram", "text", 4096, "\nchat_id = 1"),
        ("mattermost", "text", 16_383, ""),
    ] {
        let (setup, receiver) = setup("/x");
        let channel = setup.open(&format!("{HOOK}\nformat = \"{format}\"{more}")).unwrap();
        let mut long = message(2);
        long.host = "h\u{f6}st".repeat(1000);
        long.new[0].text = format!("the cause 🔥 {}", "🔥x".repeat(20_000));
        channel.send(&long, &Cancel::new()).unwrap();
        let sent = receiver.take().remove(0).json();
        let text = sent[key].as_str().unwrap();
        assert!(text.encode_utf16().count() <= limit, "{format}: {}", text.encode_utf16().count());
        assert!(text.contains("pg/item-0: the cause 🔥") && text.contains("more lines"), "{format}: {text}");
    }
}

#[test]
fn mattermost_is_not_made_to_call_everybody() {
    let (setup, receiver) = setup("/x");
    let mut named = message(1);
    named.new[0].subject = "pg/@channel".to_owned();
    let channel = setup.open(&format!("{HOOK}\nformat = \"mattermost\"")).unwrap();
    channel.send(&named, &Cancel::new()).unwrap();
    let sent = receiver.take().remove(0).json();
    let title = sent["text"].as_str().unwrap().lines().next().unwrap().to_owned();
    assert!(title.contains("channel") && !title.contains("@channel"), "{title}");
}

#[test]
fn a_file_of_authorities_without_a_certificate_is_refused() {
    let (setup, _receiver) = setup("/x");
    setup.secret("ca.pem", "nothing of the kind");
    for lines in [HOOK, "kind = \"email\"\nsmtp_host = \"localhost\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]"] {
        let error = setup.open(&format!("{lines}\nca_file = \"ca.pem\"")).err().unwrap();
        assert!(error.to_string().contains("holds no certificate"), "{error}");
    }
}
