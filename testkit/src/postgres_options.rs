//! Which PostgreSQL a test wants and how it listens; the files that need to be in place before it starts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    PgServer, Tool,
    process::{Owner, as_unprivileged, run_ok, unprivileged},
};

/// A major version that tests can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgVersion {
    /// PostgreSQL 15, Debian's: with TLS, ICU and XML.
    V15,
    /// PostgreSQL 18, from a wheel: built without TLS, ICU and XML.
    V18,
}

impl PgVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 2] = [Self::V15, Self::V18];

    /// The tool it needs, for `skip_unless!`.
    pub fn tool(self) -> Tool {
        match self {
            Self::V15 => Tool::Pg15,
            Self::V18 => Tool::Pg18,
        }
    }

    /// The major version number.
    pub fn major(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V18 => 18,
        }
    }

    /// The directory of its programs.
    ///
    /// # Panics
    /// If it is not installed: call [`Tool::or_skip`] first.
    pub fn bin_dir(self) -> PathBuf {
        self.tool().path().unwrap_or_else(|| panic!("{} is not there", self.tool().name()))
    }
}

/// How a throwaway server is to be started.
#[derive(Debug, Clone)]
pub struct PgOptions {
    pub(crate) version: PgVersion,
    pub(crate) tcp: bool,
    pub(crate) tls: bool,
    pub(crate) settings: Vec<(String, String)>,
}

impl PgOptions {
    /// On a Unix socket only, where everyone is let in.
    pub fn new(version: PgVersion) -> Self {
        Self { version, tcp: false, tls: false, settings: Vec::new() }
    }

    /// Also on a free port of 127.0.0.1, where a password is required ([`PgServer::PASSWORD`]).
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Also on a port, and there only with TLS, with a certificate for `localhost` and 127.0.0.1 that the
    /// authority in [`PgServer::ca_file`] signed. Needs [`Tool::Openssl`].
    ///
    /// # Panics
    /// For version 18, whose build here has no TLS.
    #[must_use]
    pub fn tls(mut self) -> Self {
        assert!(self.version == PgVersion::V15, "the PostgreSQL 18 of the tests is built without TLS");
        self.tls = true;
        self.tcp()
    }

    /// With this server setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn start(self) -> PgServer {
        PgServer::start_with(&self)
    }

    /// The lines added to `postgresql.conf`: fast rather than safe, as nothing here survives a crash anyway.
    pub(crate) fn conf(&self, socket_dir: &Path, port: u16) -> String {
        let mut conf = format!(
            "\nunix_socket_directories = '{}'\nport = {port}\nlisten_addresses = '{}'\n\
             fsync = off\nfull_page_writes = off\nsynchronous_commit = off\nmax_connections = 120\n\
             shared_buffers = 32MB\nwal_level = logical\nlogging_collector = off\nlog_timezone = 'UTC'\n",
            socket_dir.display(),
            if self.tcp { "127.0.0.1" } else { "" },
        );
        if self.tls {
            conf += "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n";
        }
        for (name, value) in &self.settings {
            conf += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        conf
    }

    /// The whole of `pg_hba.conf`.
    pub(crate) fn hba(&self) -> String {
        let kind = if self.tls { "hostssl" } else { "host" };
        format!(
            "local all all trust\nlocal replication all trust\n{kind} all all 127.0.0.1/32 scram-sha-256\n"
        )
    }
}

/// A free port; another process may take it before the server does.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes an authority (`ca.crt` in `dir`) and a server certificate it signed (in the data directory).
pub(crate) fn make_certificates(dir: &Path, data: &Path) {
    let openssl = |args: &[&str]| {
        let program = Tool::Openssl.path().expect("openssl is there: skip_unless!(Tool::Openssl) first");
        run_ok(Command::new(program).current_dir(dir).args(args), b"");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=authority of a test",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ];
    openssl(&[&ca[..], &key].concat());
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let request = [
        "req",
        "-new",
        "-subj",
        "/CN=localhost",
        "-addext",
        names,
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    ];
    openssl(&[&request[..], &key].concat());
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&sign[..], &["-days", "2", "-copy_extensions", "copyall", "-out", "server.crt"]].concat());
    for file in ["server.crt", "server.key"] {
        fs::rename(dir.join(file), data.join(file)).unwrap();
        give(&data.join(file), unprivileged(), 0o600);
    }
    fs::set_permissions(dir.join("ca.crt"), fs::Permissions::from_mode(0o644)).unwrap();
}

/// A fresh cluster of this version in a directory that will be copied for each server: `initdb` takes seconds on a
/// slow machine, copying does not. One per program version and user, shared by all test processes.
pub(crate) fn template(version: PgVersion) -> PathBuf {
    let bin = version.bin_dir();
    let exact = run_ok(Command::new(bin.join("postgres")).arg("--version"), b"");
    let exact = String::from_utf8_lossy(&exact).trim().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let uid = rustix::process::geteuid().as_raw();
    let base = crate::kept();
    let template = base.join(format!("{exact}-of-{uid}"));
    let lock = fs::File::create(base.join(format!("{exact}-of-{uid}.lock"))).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        // The target directory may be closed to the user who must run initdb, so it works elsewhere.
        let work = tempfile::Builder::new().prefix("tik-pg-").tempdir_in("/tmp").unwrap();
        give(work.path(), unprivileged(), 0o700);
        let data = work.path().join("data");
        let mut initdb = Command::new(bin.join("initdb"));
        initdb
            .args(["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&data);
        run_ok(as_unprivileged(&mut initdb), b"");
        let partial = base.join(format!("{exact}-of-{uid}.partial"));
        fs::remove_dir_all(&partial).ok();
        copy_tree(&data, &partial, None);
        fs::rename(&partial, &template).unwrap();
    }
    template
}

/// Sets mode and, if given, owner.
pub(crate) fn give(path: &Path, owner: Option<Owner>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// Copies a directory of directories and files with their modes, and gives the copy to the owner.
pub(crate) fn copy_tree(from: &Path, to: &Path, owner: Option<Owner>) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target, owner);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            if let Some((uid, gid)) = owner {
                chown(&target, Some(uid), Some(gid)).unwrap();
            }
        }
    }
    give(to, owner, fs::metadata(from).unwrap().permissions().mode() & 0o7777);
}
