//! Mail: servers that refuse, hang or answer slowly, and headers that are the same in every try.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use tik_backup::{alert::channel::Refused, stream::cancel::Cancel};

use super::setup::{ChannelSetup, message};

/// Serves each connection by `serve` on a port of its own, which is returned.
fn listen(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the test's process.
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    port
}

fn lines(port: u16, timeout: &str) -> String {
    format!(
        "kind = \"email\"\nsmtp_host = \"127.0.0.1\"\nsmtp_port = {port}\ntls = \"none\"\n\
         from = \"backup@example.org\"\nto = [\"a@example.org\", \"b@example.org\"]\ntimeout = \"{timeout}\""
    )
}

/// A server that answers `RCPT` with `rcpt`, and the recorded conversations.
fn server(rcpt: &'static str) -> (u16, Receiver<String>) {
    let (told, heard) = mpsc::channel();
    let port = listen(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut whole = String::new();
        stream.write_all(b"220 test\r\n").unwrap();
        let mut in_data = false;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                break;
            }
            whole.push_str(&line);
            let answer = match line.trim_end() {
                "." if in_data => {
                    in_data = false;
                    "250 taken"
                }
                _ if in_data => continue,
                "DATA" => {
                    in_data = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                line if line.starts_with("RCPT") => rcpt,
                _ => "250 yes",
            };
            if stream.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
                break;
            }
        }
        told.send(whole).ok();
    });
    (port, heard)
}

#[test]
fn every_try_of_a_message_carries_the_same_id() {
    let (port, heard) = server("250 yes");
    let setup = ChannelSetup::new();
    let channel = setup.open(&lines(port, "10s")).unwrap();
    let id = |count: usize| {
        channel.send(&message(count), &Cancel::new()).unwrap();
        let mail = heard.recv().unwrap();
        assert_eq!(mail.matches("RCPT TO:").count(), 2, "{mail}");
        mail.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned()
    };
    let (first, again, other) = (id(1), id(1), id(2));
    assert!(first == again && first != other, "{first} {again} {other}");
    assert!(first.ends_with("@example.org>"), "{first}");
}

#[test]
fn a_refusal_of_an_address_lasts_and_greylisting_does_not() {
    for (answer, lasting, hint) in [
        ("550 no such user", true, "whether those in `to` exist"),
        ("451 come back later", false, "there is nothing to correct"),
    ] {
        let (port, _heard) = server(answer);
        let refused = ChannelSetup::new().send(&lines(port, "10s")).unwrap_err();
        assert_eq!(refused.lasting, lasting, "{}", refused.error);
        assert!(refused.error.to_string().contains(&answer[4..]), "{}", refused.error);
        assert!(refused.error.hint_text().unwrap().contains(hint), "{}", refused.error);
    }
}

#[test]
fn a_port_where_nothing_listens_is_told_as_that() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = ChannelSetup::new().send(&lines(port, "10s")).unwrap_err();
    assert!(
        !refused.lasting && refused.error.hint_text().unwrap().contains("nothing listens there"),
        "{}",
        refused.error
    );
}

#[test]
fn a_server_without_starttls_gets_neither_password_nor_mail() {
    let (port, heard) = server("250 yes");
    let setup = ChannelSetup::new();
    setup.secret("password", "pa55word");
    let lines = lines(port, "10s").replace("\"none\"", "\"starttls\"");
    let refused = setup.send(&format!("{lines}\nuser = \"u\"\npassword_file = \"password\"")).unwrap_err();
    assert!(refused.lasting && refused.error.to_string().contains("STARTTLS"), "{}", refused.error);
    let said = heard.recv().unwrap();
    assert!(!said.contains("AUTH") && !said.contains("MAIL FROM"), "{said}");
}

/// Sends to a server that `serve`s, and stops after it has been connected to if `stop`.
fn send_to(serve: impl Fn(&mut TcpStream) + Send + 'static, timeout: &str, stop: bool) -> Refused {
    let cancel = Cancel::new();
    let later = cancel.clone();
    let port = listen(move |mut stream| {
        if stop {
            later.cancel("enough");
        }
        serve(&mut stream);
    });
    let channel = ChannelSetup::new().open(&lines(port, timeout)).unwrap();
    channel.send(&message(1), &cancel).unwrap_err()
}

#[test]
fn a_cancelled_mail_ends_although_the_server_hangs() {
    let hang = |_: &mut TcpStream| thread::sleep(Duration::from_secs(3600));
    let refused = send_to(hang, "10m", true);
    assert!(!refused.lasting && refused.error.to_string().contains("stopped"), "{}", refused.error);
}

#[test]
fn a_server_that_trickles_ends_by_the_timeout() {
    // Sends data forever, with short pauses.
    let trickle = |stream: &mut TcpStream| {
        while stream.write_all(b"220-wait\r\n").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    };
    let refused = send_to(trickle, "1s", false);
    assert!(!refused.lasting && refused.error.to_string().contains("within"), "{}", refused.error);
}
