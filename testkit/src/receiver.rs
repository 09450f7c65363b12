//! An HTTP server that records requests and can simulate failures.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

/// The kind of its answers.
#[derive(Debug, Clone)]
pub enum Mode {
    /// With this status, these header lines and this body.
    Answer(u16, &'static str, String),
    /// Not at all, and the connection stays open.
    Hang,
    /// By closing the connection in the middle of its answer.
    BreakOff,
}

impl Mode {
    pub fn ok() -> Self {
        Self::Answer(200, "", "{\"ok\":true}".to_owned())
    }
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    mode: Mutex<Option<Mode>>,
    /// Modes of the next requests, before `mode` counts again.
    next: Mutex<Vec<Mode>>,
    stop: AtomicBool,
}

/// The server; it ends when dropped.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// A server that accepts everything.
    pub fn start() -> Self {
        let mut receiver = Self { port: 0, shared: Arc::default(), thread: None };
        receiver.up();
        receiver
    }

    /// Listens, on the same port as before.
    pub fn up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.port = listener.local_addr().unwrap().port();
        self.shared.stop.store(false, Ordering::SeqCst);
        let shared = self.shared.clone();
        self.thread = Some(thread::spawn(move || {
            while !shared.stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = shared.clone();
                        thread::spawn(move || serve(stream, &shared));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        }));
    }

    /// Stops listening.
    pub fn down(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sets the kind of all following answers.
    pub fn answer(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = Some(mode);
    }

    /// Sets the kind of the next answers.
    pub fn answer_next(&self, modes: impl IntoIterator<Item = Mode>) {
        self.shared.next.lock().unwrap().extend(modes);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.trim().split_once(": ").unwrap();
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    shared.requests.lock().unwrap().push(Request { path, headers, body });
    let mut next = shared.next.lock().unwrap();
    let mode = if next.is_empty() { shared.mode.lock().unwrap().clone() } else { Some(next.remove(0)) };
    drop(next);
    answer(stream, &mode.unwrap_or_else(Mode::ok), shared);
}

fn answer(mut stream: TcpStream, mode: &Mode, shared: &Shared) {
    // The client may have gone, which the test detects.
    match mode {
        Mode::Answer(status, headers, body) => {
            let _ = write!(
                stream,
                "HTTP/1.1 {status} Something\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
        Mode::BreakOff => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
        }
        Mode::Hang => {
            while !shared.stop.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
