//! Access control and security headers of the dashboard.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::fs::PermissionsExt,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use testkit::{Cmd, Config, ConfigBuilder};

use super::server::Server;

fn config(more: &str) -> Config {
    ConfigBuilder::new().tables(more).build()
}

#[test]
fn it_only_shows_and_only_here() {
    let config = config("");
    let server = Server::start(&config.path(), &[]);
    let page = server.get("/", &[]);
    assert_eq!(page.status, 200, "{}", page.body);
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    assert_eq!(page.header("set-cookie"), None);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(server.ask(method, "/", "localhost:1", &[]).status, 405, "{method}");
    }
    // A foreign name that resolves to this machine is refused; names of this machine are accepted.
    let status = |host: &str| server.ask("GET", "/", host, &[]).status;
    assert_eq!(
        (status("evil.example"), status("evil.example:8740"), status("127.0.0.1.evil.example")),
        (421, 421, 421)
    );
    assert_eq!((status("localhost"), status("127.0.0.1:8740"), status("[::1]:8740")), (200, 200, 200));
    for path in ["/nothing", "/item?source=a&item=b", "/source?source=%3Cb%3E", "/runs/none"] {
        let missing = server.get(path, &[]);
        assert_eq!(missing.status, 404, "{path}");
        assert!(missing.header("content-security-policy").is_some());
    }
    assert_eq!(server.get("/healthz", &[]).body, "ok\n");
}

#[test]
fn other_machines_need_a_token_or_a_proxy() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8740"] {
        let open = config(&format!("[dashboard]\nlisten = \"{listen}\""));
        let refused = Cmd::with(&open).args(["config", "check", "--offline"]).run().expect_code(2);
        assert!(refused.stderr.contains("without authentication"), "{}", refused.stderr);
        let refused = Cmd::with(&config("")).args(["serve", "--listen", listen]).run().expect_code(2);
        assert!(refused.stderr.contains("without authentication"), "{}", refused.stderr);
    }

    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "open sesame, 32 letters of it\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let guarded =
        config(&format!("[dashboard]\nlisten = \"0.0.0.0:0\"\ntoken_file = \"{}\"", token.display()));
    let server = Server::start(&guarded.path(), &["--listen", "127.0.0.1:0"]);
    for path in ["/", "/metrics", "/api/v1/status", "/healthz", "/style.css"] {
        let refused = server.get(path, &[]);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Basic"));
        assert_eq!(server.get(path, &[("Authorization", "Bearer open sesame")]).status, 401, "{path}");
        assert_eq!(
            server.get(path, &[("Authorization", "Bearer open sesame, 32 letters of it")]).status,
            200,
            "{path}"
        );
    }
    // The header that a browser sends after asking for a password.
    let basic = format!("Basic {}", BASE64_STANDARD.encode("anybody:open sesame, 32 letters of it"));
    assert_eq!(server.get("/", &[("Authorization", &basic)]).status, 200);
    for nonsense in ["Basic", "Basic !!", "Bearer", "Digest x", "Basic YQ=="] {
        assert_eq!(server.get("/", &[("Authorization", nonsense)]).status, 401, "{nonsense}");
    }

    let proxied = config("[dashboard]\nlisten = \"127.0.0.1:0\"\nbehind_proxy = true");
    let server = Server::start(&proxied.path(), &[]);
    assert_eq!(server.ask("GET", "/", "backup.example.org", &[]).status, 200);
}

#[test]
fn a_socket_in_the_file_system_is_served_and_replaced() {
    let config = config("");
    let path = config.dir().join("page.sock");
    let listen = format!("unix:{}", path.display());
    for _ in 0..2 {
        let server = Server::start(&config.path(), &["--listen", &listen]);
        assert_eq!(server.get("/", &[]).status, 200);
        let taken = Cmd::with(&config).args(["serve", "--listen", &listen]).run().expect_code(1);
        assert!(taken.stderr.contains("cannot listen on"), "{}", taken.stderr);
    }
    assert!(!path.exists());
    // A socket left behind by a killed process.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::start(&config.path(), &["--listen", &listen]);
    assert_eq!(server.get("/healthz", &[]).status, 200);
}

/// A host that has only the repository shows its content.
#[test]
fn a_second_host_needs_nothing_but_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let toml = format!("kind = \"directory\"\npaths = [\"{}\"]", folder.path().display());
    let first = ConfigBuilder::new().source("files", &toml).build();
    Cmd::with(&first).arg("init").run().ok();
    Cmd::with(&first).arg("backup").run().ok();
    let text = format!(
        "state_dir = \"{0}/other\"\n[repository]\nlocation = \"{1}\"\npassword_file = \"{2}\"\n",
        folder.path().display(),
        first.repo().display(),
        first.password_file().display()
    );
    let second = folder.path().join("second.toml");
    fs::write(&second, text).unwrap();
    let server = Server::start(&second, &[]);
    let begin = std::time::Instant::now();
    let items = loop {
        let status = server.json("/api/v1/status");
        if status["repository"]["snapshots"] == 1 || begin.elapsed().as_secs() > 30 {
            break status["items"].clone();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!((&items[0]["source"], &items[0]["snapshots"]), (&"files".into(), &1.into()), "{items:#}");
    assert!(server.get("/", &[]).body.contains("files/"));
}

const HALF: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half: ";

/// All data received before the server closes the connection; nothing if it closes it at once.
fn everything(mut connection: Box<dyn Read + Send>) -> String {
    let mut answer = Vec::new();
    match connection.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is not closed: {error}"),
    }
    String::from_utf8(answer).unwrap()
}

/// Connections can be opened without a token.
#[test]
fn half_requests_keep_nobody_out_however_few_files_may_be_open() {
    let config = config("");
    let socket = format!("unix:{}", config.dir().join("half.sock").display());
    for (listen, files) in [("127.0.0.1:0", Some(64)), ("127.0.0.1:0", None), (&*socket, Some(64))] {
        let server = Server::start_with(&config.path(), &["--listen", listen], files);
        let half: Vec<_> = (0..300).map(|_| server.connection(HALF)).collect();
        for _ in 0..3 {
            let whole =
                server.connection("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = everything(whole);
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{listen}: {answer}");
        }
        // The first connections were closed to make room for the last.
        assert_eq!(everything(half.into_iter().next().unwrap()), "");
        assert_eq!(server.get("/", &[]).status, 200);
    }
}

#[test]
fn bodies_and_endless_heads_are_not_waited_for() {
    let config = config("");
    let server = Server::start(&config.path(), &[]);
    for (sent, status) in [
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".to_owned(), "405"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".to_owned(), "413"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), "413"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(100_000)), "431"),
    ] {
        let answer = everything(server.connection(&sent));
        // Data sent beyond the limit may reset the connection before the response is read.
        let lost = status == "431" && answer.is_empty();
        assert!(lost || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    if !testkit::tools::stress_or_skip() {
        return;
    }
    // The same holds for an incomplete request and an idle connection.
    assert!(!everything(server.connection(HALF)).contains(" 200 "));
    let kept = everything(server.connection("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert!(kept.starts_with("HTTP/1.1 200 "), "{kept}");
}

#[test]
fn an_address_that_cannot_be_used_says_what_to_do() {
    let config = config("");
    let missing = config.dir().join("missing");
    let listen = format!("unix:{}/page.sock", missing.display());
    let refused = Cmd::with(&config).args(["serve", "--listen", &listen]).run().expect_code(1);
    let told = format!("the directory {} does not exist", missing.display());
    assert!(refused.stderr.contains(&told) && !refused.stderr.contains("that port"), "{}", refused.stderr);
    let server = Server::start(&config.path(), &[]);
    let taken = server.address.trim_start_matches("http://").trim_end_matches('/');
    let refused = Cmd::with(&config).args(["serve", "--listen", taken]).run().expect_code(1);
    assert!(refused.stderr.contains("another program has that port"), "{}", refused.stderr);
}
