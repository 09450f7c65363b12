//! A small server for restic's REST protocol, versions 1 and 2, that keeps its files as a local repository does, and
//! refuses requests on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// `backup:secret`, the only user, as a browser would send it.
const AUTHORIZATION: &str = "Basic YmFja3VwOnNlY3JldA==";
const V2: &str = "application/vnd.x.restic.rest.v2";

/// Prefix of the path of an upload, and an action before that upload is stored.
type Before = (String, Box<dyn FnOnce() + Send>);

struct State {
    root: PathBuf,
    /// Actions before the next uploads of a kind, in order.
    before: Mutex<VecDeque<Before>>,
    /// Everything is refused until this number of requests with this path were refused.
    away: Mutex<Option<(String, u32)>>,
    /// Prefix of the path of the upload that is stored and not answered.
    unanswered: Mutex<Option<String>>,
    /// Prefix of the path of uploads to refuse, the status, and the number of refusals.
    refusal: Mutex<Option<(String, u16, u32)>>,
    requests: Mutex<Vec<String>>,
    /// A file that the next listing with it shows in an earlier state: missing, or with this size.
    outdated: Mutex<Option<(String, Option<u64>)>>,
    /// Whether files cannot be removed.
    append_only: AtomicBool,
    over: AtomicBool,
}

/// The running server; it takes no more connections when dropped.
pub struct RestServer {
    state: Arc<State>,
    listener: TcpListener,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
}

impl RestServer {
    /// Serves a directory on a free port of this machine.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(State {
            root: root.to_owned(),
            before: Mutex::default(),
            away: Mutex::default(),
            unanswered: Mutex::default(),
            refusal: Mutex::default(),
            requests: Mutex::default(),
            outdated: Mutex::default(),
            append_only: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let (incoming, shared) = (listener.try_clone().unwrap(), state.clone());
        thread::spawn(move || {
            for stream in incoming.incoming() {
                let (Ok(stream), state) = (stream, shared.clone()) else { return };
                if state.over.load(Ordering::SeqCst) {
                    return;
                }
                // Broken connections are ignored.
                thread::spawn(move || state.serve(stream).ok());
            }
        });
        Self { state, listener }
    }

    /// The location with its password, in the form of restic and this program.
    pub fn location(&self) -> String {
        format!("rest:http://backup:secret@{}/", self.listener.local_addr().unwrap())
    }

    /// Refuses the next uploads with this path prefix.
    pub fn refuse(&self, start: &str, status: u16, times: u32) {
        self.faults().refuse(start, status, times);
    }

    /// A handle to refuse requests while the server is running.
    pub fn faults(&self) -> Faults {
        Faults(self.state.clone())
    }

    /// Stores the next upload with this path prefix, and breaks the connection instead of answering.
    pub fn lose_answer(&self, start: &str) {
        *self.state.unanswered.lock().unwrap() = Some(start.to_owned());
    }

    /// Whether that has happened.
    pub fn is_answer_lost(&self) -> bool {
        self.state.unanswered.lock().unwrap().is_none()
    }

    /// Refuses to remove files from now on.
    pub fn refuse_removal(&self) {
        self.state.append_only.store(true, Ordering::SeqCst);
    }

    /// Runs an action before the next upload with this path prefix is stored, after the actions for earlier ones.
    pub fn before_upload(&self, start: &str, act: impl FnOnce() + Send + 'static) {
        self.state.before.lock().unwrap().push_back((start.to_owned(), Box::new(act)));
    }

    /// Shows a file in the next listing with it as it was before its upload, or with this size during the upload.
    pub fn list_outdated(&self, name: &str, size: Option<u64>) {
        *self.state.outdated.lock().unwrap() = Some((name.to_owned(), size));
    }

    /// Whether the outdated listing was requested.
    pub fn listed_outdated(&self) -> bool {
        self.state.outdated.lock().unwrap().is_none()
    }

    /// Whether all actions before uploads were run.
    pub fn acted(&self) -> bool {
        self.state.before.lock().unwrap().is_empty()
    }

    /// Stops refusing; returns whether all refusals were used.
    pub fn relent(&self) -> bool {
        self.state.refusal.lock().unwrap().take().is_some_and(|(_, _, left)| left == 0)
    }

    /// Requests since the last call, as `METHOD /path`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }
}

/// Makes a server refuse requests.
pub struct Faults(Arc<State>);

impl Faults {
    /// Refuses the next uploads with this path prefix.
    pub fn refuse(&self, start: &str, status: u16, times: u32) {
        *self.0.refusal.lock().unwrap() = Some((start.to_owned(), status, times));
    }

    /// Refuses everything until this number of requests with this path were refused.
    pub fn away_until(&self, path: &str, times: u32) {
        *self.0.away.lock().unwrap() = Some((path.to_owned(), times));
    }
}

impl Drop for RestServer {
    fn drop(&mut self) {
        // Wakes the accepting thread, which then ends.
        self.state.over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.listener.local_addr().unwrap()).ok();
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        while let Some(request) = read_request(&mut reader, &mut writer)? {
            let response = self.answer(&request).unwrap_or_else(|e| failed(&e));
            let is_upload =
                |start: &mut String| request.method == "POST" && request.path.starts_with(&**start);
            if self.unanswered.lock().unwrap().take_if(is_upload).is_some() {
                return writer.shutdown(Shutdown::Both);
            }
            let length = response.body.len();
            let head = format!(
                "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\r\n",
                response.status, response.kind
            );
            let body = if request.method == "HEAD" { &[][..] } else { &response.body };
            // In one piece: a body that follows its head waits for the client's acknowledgement.
            writer.write_all(&[head.as_bytes(), body].concat())?;
        }
        writer.shutdown(Shutdown::Both)
    }

    fn answer(&self, request: &Request) -> io::Result<Response> {
        self.requests.lock().unwrap().push(format!("{} {}", request.method, request.path));
        if request.headers.get("authorization").map(String::as_str) != Some(AUTHORIZATION) {
            return Ok(status(401));
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path.contains("..") {
            return Ok(status(400));
        }
        if self.is_away(path) {
            return Ok(status(503));
        }
        if path == "/" && query.contains("create=true") {
            for folder in ["data", "index", "keys", "locks", "snapshots"] {
                fs::create_dir_all(self.root.join(folder))?;
            }
            return Ok(status(200));
        }
        if let Some(folder) = path.trim_start_matches('/').strip_suffix('/') {
            return self
                .list(folder, request.headers.get("accept").is_some_and(|accept| accept.contains(V2)));
        }
        let file = self.file(path);
        match request.method.as_str() {
            "POST" => self.upload(path, &file, &request.body),
            "DELETE" if self.append_only.load(Ordering::SeqCst) => Ok(status(403)),
            "DELETE" => fs::remove_file(file).map(|()| status(200)),
            _ => Ok(part(fs::read(file)?, request.headers.get("range"))),
        }
    }

    fn is_away(&self, path: &str) -> bool {
        let mut away = self.away.lock().unwrap();
        let Some((until, left)) = &mut *away else { return false };
        if path == until.as_str() {
            *left -= 1;
            if *left == 0 {
                *away = None;
            }
        }
        true
    }

    /// The path of the file in a local repository.
    fn file(&self, path: &str) -> PathBuf {
        match path.strip_prefix("/data/") {
            Some(name) => self.root.join("data").join(name.get(..2).unwrap_or("xx")).join(name),
            None => self.root.join(path.trim_start_matches('/')),
        }
    }

    fn upload(&self, path: &str, file: &Path, body: &[u8]) -> io::Result<Response> {
        let mut before = self.before.lock().unwrap();
        let is_next = before.front().is_some_and(|(start, _)| path.starts_with(start.as_str()));
        let act = if is_next { before.pop_front() } else { None };
        drop(before);
        if let Some((_, act)) = act {
            act();
        }
        if self.is_away(path) {
            return Ok(status(503));
        }
        if let Some((start, code, times)) = &mut *self.refusal.lock().unwrap()
            && path.starts_with(start.as_str())
            && *times > 0
        {
            *times -= 1;
            return Ok(status(*code));
        }
        if file.exists() {
            return Ok(status(403));
        }
        fs::create_dir_all(file.parent().unwrap())?;
        fs::write(file, body)?;
        Ok(status(200))
    }

    fn list(&self, folder: &str, v2: bool) -> io::Result<Response> {
        let found = testkit::postgres_world::files(&self.root.join(folder)).into_iter();
        let mut found: Vec<_> = found
            .map(|(path, size)| (path.file_name().unwrap().to_string_lossy().into_owned(), size))
            .collect();
        let mut outdated = self.outdated.lock().unwrap();
        if let Some((name, size)) = outdated.take_if(|(name, _)| found.iter().any(|(found, _)| found == name))
        {
            found.retain(|(found, _)| *found != name);
            found.extend(size.map(|size| (name, size)));
        }
        drop(outdated);
        let json = if v2 {
            let entry = |(name, size): &(String, u64)| serde_json::json!({"name": name, "size": size});
            found.iter().map(entry).collect::<serde_json::Value>()
        } else {
            found.iter().map(|(name, _)| serde_json::Value::from(name.as_str())).collect()
        };
        let kind = if v2 { V2 } else { "application/vnd.x.restic.rest.v1" };
        Ok(Response { status: 200, kind, body: json.to_string().into_bytes() })
    }
}

fn status(status: u16) -> Response {
    Response { status, kind: "text/plain", body: Vec::new() }
}

fn failed(error: &io::Error) -> Response {
    status(if error.kind() == io::ErrorKind::NotFound { 404 } else { 500 })
}

/// The content, or the part requested by `Range: bytes=FROM-TO`.
fn part(content: Vec<u8>, range: Option<&String>) -> Response {
    let parse = |range: &String| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        let from: usize = from.parse().ok()?;
        let to = to.parse().map_or(content.len(), |to: usize| (to + 1).min(content.len()));
        content.get(from..to).map(<[u8]>::to_vec)
    };
    let kind = "application/octet-stream";
    match range.and_then(parse) {
        Some(body) => Response { status: 206, kind, body },
        None => Response { status: 200, kind, body: content },
    }
}

/// The next request of a connection, or nothing when the client has closed it.
fn read_request(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        read_chunks(reader, &mut body)?;
    } else {
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        reader.take(length).read_to_end(&mut body)?;
    }
    Ok(Some(Request { method, path, headers, body }))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        reader.by_ref().take(size).read_to_end(body)?;
        let mut end = [0; 2];
        reader.read_exact(&mut end)?;
        if size == 0 {
            return Ok(());
        }
    }
}
