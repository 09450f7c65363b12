//! Mail through a real server, with TLS both ways.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use testkit::{Cmd, ConfigBuilder, Ran, process::run_ok, program::quoted};

use super::smtp::MailServer;

const PASSWORD: &str = "s3cret-of-mail";

/// Sends a test alert with these lines of configuration.
fn send(server: &MailServer, port: u16, lines: &str, ca_file: &Path, password: &str) -> Ran {
    let builder = ConfigBuilder::new();
    let file = builder.secret("mail-password", password);
    let table = format!(
        "[[alerts]]\nkind = \"email\"\nsmtp_host = \"localhost\"\nsmtp_port = {port}\nuser = \"alarm\"\n\
         password_file = {}\nca_file = {}\nfrom = \"Sicherung Größe <backup@example.org>\"\n\
         to = [\"night@example.org\", \"second@example.org\"]\n{}\n{lines}\n",
        quoted(&file.display().to_string()),
        quoted(&ca_file.display().to_string()),
        if lines.contains("timeout") { "" } else { "timeout = \"10s\"" },
    );
    let config = builder.repository("host = \"Größe-ü\"").tables(&table).build();
    let ran = Cmd::with(&config).args(["alert", "test"]).run();
    assert!(!ran.stdout.contains(PASSWORD) && !ran.stderr.contains(PASSWORD), "{}{}", ran.stdout, ran.stderr);
    let _ = server;
    ran
}

/// A mailbox as parsed by an independent program: subject, sender, recipients, and the text of the first mail.
fn parsed(mailbox: &str) -> serde_json::Value {
    let script = "import email, email.policy, json, sys\n\
                  text = sys.stdin.buffer.read().split(b'\\n', 1)[1]\n\
                  m = email.message_from_bytes(text, policy=email.policy.default)\n\
                  print(json.dumps({'subject': m['subject'], 'from': m['from'], 'to': m['to'], 'auto': m['auto-submitted'], \
                  'id': m['message-id'], 'date': m['date'], 'text': m.get_content()}))";
    let output = run_ok(Command::new("python3").args(["-c", script]), mailbox.as_bytes());
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn mail_arrives_whole_over_either_kind_of_tls() {
    let Some(server) = MailServer::start(PASSWORD) else { return };
    for (port, lines, user) in [(server.starttls, "", "night"), (server.tls, "tls = \"tls\"", "second")] {
        send(&server, port, lines, &server.ca_file(), PASSWORD).ok();
        let mail = parsed(&server.mail(user));
        assert_eq!(mail["subject"], "tik-backup on Größe-ü: a test alert");
        assert_eq!(mail["from"], "Sicherung Größe <backup@example.org>");
        assert_eq!(mail["to"], "night@example.org, second@example.org");
        assert_eq!(mail["auto"], "auto-generated");
        assert!(mail["id"].as_str().unwrap().contains('@') && !mail["date"].is_null());
        assert!(mail["text"].as_str().unwrap().contains("This is a test."), "{mail:#}");
    }
}

#[test]
fn a_wrong_password_and_a_wrong_authority_are_refused_with_what_to_do() {
    let Some(server) = MailServer::start(PASSWORD) else { return };
    let refused = send(&server, server.starttls, "", &server.ca_file(), "wrong").expect_code(1);
    assert!(refused.stdout.contains("the login was refused: check whether `user`"), "{}", refused.stdout);
    // Without the authority's certificate the server is not trusted, and the password is not sent.
    let other = tempfile::tempdir().unwrap();
    let stranger = other.path().join("ca.pem");
    run_ok(
        Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=No",
                "-keyout",
                "/dev/null",
                "-out",
            ])
            .arg(&stranger),
        b"",
    );
    fs::set_permissions(&stranger, fs::Permissions::from_mode(0o644)).unwrap();
    for (port, lines) in [(server.starttls, ""), (server.tls, "tls = \"tls\"")] {
        let refused = send(&server, port, lines, &stranger, PASSWORD).expect_code(1);
        assert!(refused.stdout.contains("ca_file"), "{}", refused.stdout);
    }
    assert!(server.is_empty(), "nothing was delivered");
}

#[test]
fn ports_that_are_mixed_up_are_told_with_what_fits() {
    let Some(server) = MailServer::start(PASSWORD) else { return };
    // TLS from the first byte to a server that greets first, and vice versa.
    for (port, lines) in [(server.starttls, "tls = \"tls\""), (server.tls, "timeout = \"2s\"")] {
        let lines = lines.replace("timeout", "tries = 1\ntimeout");
        let refused = send(&server, port, &lines, &server.ca_file(), PASSWORD).expect_code(1);
        assert!(refused.stdout.contains("usually 465 with"), "{lines}: {}", refused.stdout);
    }
    assert!(server.is_empty(), "nothing was delivered");
}
