//! A mail server: Exim in a directory of its own, with both kinds of TLS and one user.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;
use testkit::{
    Tool,
    process::{run_ok, spawn_bound},
    running::wait_until,
    skip,
};

const EXIM: &str = "/usr/sbin/exim4";
/// The user of the Debian package, to whom mail is delivered: the server does not write as root.
const USER: &str = "Debian-exim";

pub struct MailServer {
    dir: TempDir,
    child: Child,
    pub starttls: u16,
    pub tls: u16,
}

impl MailServer {
    /// Accepts mail from `alarm` with this password. `None`, with a visible skip, if it is not available.
    pub fn start(password: &str) -> Option<Self> {
        if !Path::new(EXIM).exists() || !rustix::process::getuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI must have Exim, and be root");
            skip("a mail server: as root, apt-get install exim4-daemon-light");
            return None;
        }
        if !Tool::Openssl.or_skip() {
            return None;
        }
        // Below a directory that the server's user may enter.
        let dir = tempfile::Builder::new().prefix("tik-mail-").tempdir().unwrap();
        for folder in ["spool", "log", "mail"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        certificates(dir.path());
        run_ok(Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(dir.path()), b"");
        // Its user must not be able to write the configuration.
        let (starttls, tls) = (free_port(), free_port());
        let config = dir.path().join("exim.conf");
        fs::write(&config, configuration(dir.path(), starttls, tls, password)).unwrap();
        let mut command = Command::new(EXIM);
        command.arg("-C").arg(&config).arg("-bdf").arg("-oP").arg(dir.path().join("pid"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawn_bound(command, Signal::KILL).unwrap();
        let server = Self { dir, child, starttls, tls };
        wait_until("the mail server greets", || greets(starttls));
        Some(server)
    }

    /// The certificate of the authority that it belongs to.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// All mail to this user so far; waits for the first.
    pub fn mail(&self, user: &str) -> String {
        let path = self.dir.path().join("mail").join(user);
        wait_until("mail has come", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
        fs::read_to_string(path).unwrap()
    }

    /// Whether no mail has arrived for any user.
    pub fn is_empty(&self) -> bool {
        fs::read_dir(self.dir.path().join("mail")).unwrap().next().is_none()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok_and(|_| line.starts_with("220"))
}

fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let mut command = Command::new(Tool::Openssl.path().unwrap());
        run_ok(command.args(args).current_dir(dir), b"");
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=Test CA",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
    ]);
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    ]);
    fs::write(dir.join("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "server.pem",
    ]);
}

fn configuration(dir: &Path, starttls: u16, tls: u16, password: &str) -> String {
    let dir = dir.display();
    format!(
        "primary_hostname = localhost\n\
         spool_directory = {dir}/spool\n\
         log_file_path = {dir}/log/%slog\n\
         local_interfaces = 127.0.0.1\n\
         daemon_smtp_ports = {starttls} : {tls}\n\
         tls_on_connect_ports = {tls}\n\
         tls_advertise_hosts = *\n\
         tls_certificate = {dir}/server.pem\n\
         tls_privatekey = {dir}/server.key\n\
         host_lookup =\n\
         rfc1413_hosts =\n\
         message_size_limit = 10M\n\
         acl_smtp_rcpt = rcpt\n\
         begin acl\n\
         rcpt:\n\
         \x20 deny !authenticated = *\n\
         \x20 accept\n\
         begin routers\n\
         night:\n\
         \x20 driver = accept\n\
         \x20 local_parts = night\n\
         \x20 transport = night\n\
         second:\n\
         \x20 driver = accept\n\
         \x20 transport = second\n\
         begin transports\n\
         night:\n\
         \x20 driver = appendfile\n\
         \x20 file = {dir}/mail/night\n\
         \x20 user = {USER}\n\
         \x20 group = {USER}\n\
         second:\n\
         \x20 driver = appendfile\n\
         \x20 file = {dir}/mail/second\n\
         \x20 user = {USER}\n\
         \x20 group = {USER}\n\
         begin authenticators\n\
         plain:\n\
         \x20 driver = plaintext\n\
         \x20 public_name = PLAIN\n\
         \x20 server_prompts = :\n\
         \x20 server_condition = ${{if and{{{{eq{{$auth2}}{{alarm}}}}{{eq{{$auth3}}{{{password}}}}}}}}}\n\
         \x20 server_advertise_condition = ${{if def:tls_in_cipher}}\n"
    )
}
