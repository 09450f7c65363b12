//! The program as a server, and a client that returns complete responses.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value;
use testkit::Cmd;

/// A dashboard server; it ends when dropped.
pub struct Server {
    process: Child,
    /// The address that it prints.
    pub address: String,
}

impl Server {
    /// Starts a server on a free port, with further arguments.
    pub fn start(config: &Path, arguments: &[&str]) -> Self {
        Self::start_with(config, arguments, None)
    }

    /// The same with a limit on open files.
    pub fn start_with(config: &Path, arguments: &[&str], files: Option<u64>) -> Self {
        let listen: &[&str] =
            if arguments.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let command = Cmd::new().arg("--config").arg(config).arg("serve").args(listen).args(arguments);
        let mut command = command.into_command();
        if let Some(files) = files {
            let limit = Rlimit { current: Some(files), maximum: Some(files) };
            // SAFETY: between fork and exec only one system call is made.
            unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) };
        }
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {:?}", process.wait());
        }
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        // Its further output is read, so that it never blocks on a full pipe.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { process, address }
    }

    fn host(&self) -> &str {
        self.address.trim_start_matches("http://").trim_end_matches('/')
    }

    /// The response to a GET with these additional headers.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, self.host(), headers)
    }

    pub fn ask(&self, method: &str, path: &str, host: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        match self.address.strip_prefix("unix:") {
            Some(path) => exchange(UnixStream::connect(path).unwrap(), &request),
            None => exchange(TcpStream::connect(self.host()).unwrap(), &request),
        }
    }

    /// A connection on which this was sent, with nothing read yet. A read that takes more than a minute is an error: a
    /// bound for a broken server, not a measure of a sound one.
    pub fn connection(&self, sent: &str) -> Box<dyn Read + Send> {
        let bound = Some(Duration::from_secs(60));
        // If the server has already closed it, the next read shows that.
        match self.address.strip_prefix("unix:") {
            Some(path) => {
                let mut stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(bound).unwrap();
                let _ = stream.write_all(sent.as_bytes());
                Box::new(stream)
            }
            None => {
                let mut stream = TcpStream::connect(self.host()).unwrap();
                stream.set_read_timeout(bound).unwrap();
                let _ = stream.write_all(sent.as_bytes());
                Box::new(stream)
            }
        }
    }

    /// The JSON that it answers with 200.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, tail)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&tail[..length]);
        rest = tail.get(length + 2..).unwrap_or_default();
    }
    body
}
