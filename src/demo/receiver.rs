//! The receiver of the demo's alerts: a web server that keeps the messages it gets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// The maximum length of a message.
const LONGEST: u64 = 1 << 20;
/// The read timeout of a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver on the loopback address. It ends with the process.
pub(super) struct Receiver {
    port: u16,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// Starts to listen.
    pub(super) fn start() -> Result<Self> {
        let failed = |error| Error::from_io("cannot listen for alerts", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let messages = Arc::<Mutex<Vec<String>>>::default();
        let kept = messages.clone();
        thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                for connection in listener.incoming().flatten() {
                    if let Some(text) = message(connection) {
                        kept.lock().push(text);
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self { port, messages })
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The messages since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock())
    }
}

/// Reads a request and answers it; returns its text.
fn message(mut connection: TcpStream) -> Option<String> {
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(connection.try_clone().ok()?).take(LONGEST);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    let document: serde_json::Value = serde_json::from_slice(&body).ok()?;
    Some(document.get("text")?.as_str()?.to_owned())
}
