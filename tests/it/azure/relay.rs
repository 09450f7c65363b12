//! Stands between the client and a service: cuts answers off, loses them, or answers itself.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use testkit::{azure::FakeAzure, azurite::Azurite};

/// An account `acct` in the emulator, which has no files and is reached through a relay.
pub fn relayed() -> (Azurite, Relay, FakeAzure) {
    let azurite = Azurite::start(&["acct"]);
    let relay = Relay::start(azurite.port());
    let azure = FakeAzure::start();
    let mut account = azure.new_account("acct", &azure.add_subscription("One"));
    account.key = azurite.key("acct");
    account.blob_endpoint = Some(azurite.endpoint_at(relay.port(), "acct"));
    account.file_endpoint = None;
    azure.add_account(account);
    (azurite, relay, azure)
}

/// What happens to requests whose first line or headers contain a text, so many times or up to a moment.
struct Rule {
    contains: String,
    times: u32,
    until: Option<Instant>,
    fate: Fate,
}

#[derive(Clone)]
enum Fate {
    /// The service gets it, and so many bytes of its answer are passed on before the connection closes.
    Cut(usize),
    /// The service does not get it; this is the answer.
    Answer(String),
}

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<String>>,
    returned: AtomicU64,
}

/// Passes everything on, except for the requests to break.
#[derive(Clone)]
pub struct Relay {
    port: u16,
    state: Arc<State>,
}

impl Relay {
    /// To the service on this port of 127.0.0.1.
    pub fn start(service: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Self { port, state: Arc::default() };
        let shared = relay.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (relay, service) = (shared.clone(), TcpStream::connect(("127.0.0.1", service)).unwrap());
                thread::spawn(move || relay.pass(client, service));
            }
        });
        relay
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets the service carry out such requests, but closes the connection after so many bytes of its answer.
    pub fn cut(&self, contains: &str, times: u32, after: usize) {
        self.add(contains, times, None, Fate::Cut(after));
    }

    /// Answers such requests itself.
    pub fn answer(&self, contains: &str, times: u32, head: &str) {
        self.answer_with(contains, times, head, "");
    }

    /// Like [`Relay::answer`], with a body.
    pub fn answer_with(&self, contains: &str, times: u32, head: &str, body: &str) {
        self.add(contains, times, None, Fate::Answer(whole(head, body)));
    }

    /// Answers all such requests itself for some time from now on.
    pub fn answer_for(&self, contains: &str, time: Duration, head: &str) {
        self.add(contains, u32::MAX, Some(Instant::now() + time), Fate::Answer(whole(head, "")));
    }

    /// Puts a page without blobs in front of a list of blobs: what comes after the marker (a name) is on the next page.
    pub fn empty_page(&self, contains: &str, times: u32, marker: &str) {
        let list = format!(
            "<EnumerationResults><Blobs></Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        );
        self.answer_with(contains, times, "200 OK\r\nContent-Type: application/xml", &list);
    }

    /// Passes everything on from now on.
    pub fn forget(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    fn add(&self, contains: &str, times: u32, until: Option<Instant>, fate: Fate) {
        let contains = contains.to_owned();
        self.state.rules.lock().unwrap().push(Rule { contains, times, until, fate });
    }

    /// How many requests so far contain this text in their first line or headers.
    pub fn count(&self, contains: &str) -> usize {
        self.state.requests.lock().unwrap().iter().filter(|head| head.contains(contains)).count()
    }

    /// How many bytes of answers came back so far.
    pub fn returned(&self) -> u64 {
        self.state.returned.load(Ordering::SeqCst)
    }

    fn fate(&self, head: &str) -> Option<Fate> {
        self.state.requests.lock().unwrap().push(head.to_owned());
        let mut rules = self.state.rules.lock().unwrap();
        let now = Instant::now();
        let applies = |rule: &Rule| rule.times > 0 && rule.until.is_none_or(|until| now < until);
        let rule = rules.iter_mut().find(|rule| applies(rule) && head.contains(&rule.contains))?;
        rule.times -= 1;
        Some(rule.fate.clone())
    }

    /// One connection: requests one after the other, each with its head read whole.
    fn pass(self, mut client: TcpStream, mut service: TcpStream) {
        let left = Arc::new(AtomicU64::new(u64::MAX));
        self.pass_back(&client, &service, Arc::clone(&left));
        let mut held = Vec::new();
        while let Some(head) = read_head(&mut client, &mut held) {
            let text = String::from_utf8_lossy(&head).into_owned();
            let length: usize = header(&text, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            let Some(body) = read_body(&mut client, &mut held, length) else { break };
            match self.fate(&text) {
                Some(Fate::Answer(answer)) => {
                    if client.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                    continue;
                }
                Some(Fate::Cut(after)) => left.store(after as u64, Ordering::SeqCst),
                None => {}
            }
            if service.write_all(&head).and_then(|()| service.write_all(&body)).is_err() {
                break;
            }
        }
        service.shutdown(Shutdown::Both).ok();
        client.shutdown(Shutdown::Both).ok();
    }

    fn pass_back(&self, client: &TcpStream, service: &TcpStream, left: Arc<AtomicU64>) {
        let (mut from, mut to) = (service.try_clone().unwrap(), client.try_clone().unwrap());
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let limit = left.load(Ordering::SeqCst);
                let count = usize::try_from(limit).unwrap_or(usize::MAX).min(read);
                if limit != u64::MAX {
                    left.store(limit - count as u64, Ordering::SeqCst);
                }
                state.returned.fetch_add(count as u64, Ordering::SeqCst);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
                if limit != u64::MAX && limit == count as u64 {
                    break;
                }
            }
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
        });
    }
}

fn whole(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The value of a header, whose name is in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// First line and headers of the next request; `held` keeps what was read beyond them.
fn read_head(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = held.split_off(end + 4);
            return Some(std::mem::replace(held, rest));
        }
        more(stream, held)?;
    }
}

fn read_body(stream: &mut TcpStream, held: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while held.len() < length {
        more(stream, held)?;
    }
    let rest = held.split_off(length);
    Some(std::mem::replace(held, rest))
}

fn more(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 64 * 1024];
    match stream.read(&mut buffer) {
        Ok(read @ 1..) => {
            held.extend_from_slice(&buffer[..read]);
            Some(())
        }
        _ => None,
    }
}
