//! The server itself, and its interface for tests.

use std::{
    collections::BTreeMap,
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;

use super::{
    arm,
    faults::{self, Fault},
    files,
    http::{Request, Response},
    tree::{FileNode, Node, Share},
    world::{Account, Logged, Server, Subscription, World, arm_error, storage_error},
};

/// The only tenant.
pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
/// The only service principal.
pub const CLIENT: &str = "99999999-8888-7777-6666-555555555555";
/// Its secret.
pub const SECRET: &str = "the~client.secret-8Q+/&=%";
/// The scope of tokens for Resource Manager.
pub const MANAGEMENT_SCOPE: &str = "https://management.azure.com/.default";
/// The scope of tokens for storage.
pub const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// An Azure tenant, initially empty. It listens on 127.0.0.1 until it is dropped.
pub struct FakeAzure {
    port: u16,
    world: Arc<Mutex<World>>,
    stopped: Arc<AtomicBool>,
}

impl FakeAzure {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let base = format!("http://127.0.0.1:{port}");
        let world = Arc::new(Mutex::new(World { base, page_size: 2, ..World::default() }));
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&world), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let world = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &world));
            }
        });
        Self { port, world, stopped }
    }

    /// The address of the token endpoint and of Resource Manager, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a subscription and returns its id.
    pub fn add_subscription(&self, name: &str) -> String {
        let mut world = self.world();
        let id = format!("00000000-0000-0000-0000-{:012}", world.tick());
        let (name, state) = (name.to_owned(), "Enabled".to_owned());
        world.subscriptions.push(Subscription { id: id.clone(), name, state });
        id
    }

    /// Changes the state of a subscription, such as `Disabled`.
    pub fn set_subscription_state(&self, id: &str, state: &str) {
        let mut world = self.world();
        let known = world.subscriptions.iter_mut().find(|known| known.id == id);
        known.unwrap().state = state.to_owned();
    }

    /// Ends all faults.
    pub fn forget_faults(&self) {
        self.world().faults.clear();
    }

    /// An account to be changed and then added: with this fake as its file service and without blobs.
    pub fn new_account(&self, name: &str, subscription: &str) -> Account {
        Account::new(name, subscription, &self.url())
    }

    /// Adds it.
    pub fn add_account(&self, account: Account) {
        self.world().accounts.push(account);
    }

    /// Changes an existing account.
    pub fn change_account(&self, name: &str, change: impl FnOnce(&mut Account)) {
        change(self.world().account(name).unwrap());
    }

    /// Removes it with all it holds.
    pub fn remove_account(&self, name: &str) {
        self.world().accounts.retain(|account| account.name != name);
    }

    /// The key of an account, base64.
    pub fn key(&self, account: &str) -> String {
        self.world().account(account).unwrap().key.clone()
    }

    /// Its second key.
    pub fn second_key(&self, account: &str) -> String {
        self.world().account(account).unwrap().second_key.clone()
    }

    /// Replaces the first key of an account, or the second one.
    pub fn rotate_key(&self, account: &str, second: bool) {
        let mut world = self.world();
        let key = BASE64_STANDARD.encode(format!("key {} of {account}, padded to be long", world.tick()));
        let account = world.account(account).unwrap();
        *(if second { &mut account.second_key } else { &mut account.key }) = key;
    }

    /// Adds a database server.
    pub fn add_server(&self, server: Server) {
        self.world().servers.push(server);
    }

    /// Adds an empty SMB share.
    pub fn add_share(&self, account: &str, share: &str) {
        let mut world = self.world();
        let made = world.share("SMB", 100, Vec::new());
        world.account(account).unwrap().shares.insert(share.to_owned(), made);
    }

    /// Changes an existing share.
    pub fn change_share(&self, account: &str, share: &str, change: impl FnOnce(&mut Share)) {
        change(self.world().account(account).unwrap().shares.get_mut(share).unwrap());
    }

    /// Creates or replaces a file, with its parent directories.
    pub fn put_file(&self, account: &str, share: &str, path: &str, content: impl Into<Vec<u8>>) {
        self.put_directory(account, share, path.rsplit_once('/').map_or("", |(parent, _)| parent));
        let mut world = self.world();
        let mut facts = world.facts();
        facts.attributes = vec!["Archive".to_owned()];
        let headers = BTreeMap::from([("Content-Type".to_owned(), "application/octet-stream".to_owned())]);
        let file = FileNode { facts, content: Arc::new(content.into()), headers };
        let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
        let name = parts.pop().unwrap();
        let root = &mut world.account(account).unwrap().shares.get_mut(share).unwrap().root;
        root.directory_mut(&parts).unwrap().insert(&name, Node::File(file));
    }

    /// Creates a directory and its parents, if they do not exist.
    pub fn put_directory(&self, account: &str, share: &str, path: &str) {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut world = self.world();
        for end in 1..=parts.len() {
            let made = world.directory();
            let root = &mut world.account(account).unwrap().shares.get_mut(share).unwrap().root;
            if root.node(&parts[..end]).is_err() {
                let parent = root.directory_mut(&parts[..end - 1]).unwrap();
                parent.insert(&parts[end - 1], Node::Directory(made));
            }
        }
    }

    /// Removes a file, or a directory with all below it, from the live share.
    pub fn remove(&self, account: &str, share: &str, path: &str) {
        let mut parts: Vec<_> = path.split('/').map(str::to_lowercase).collect();
        let name = parts.pop().unwrap();
        self.change_share(account, share, |share| {
            share.root.directory_mut(&parts).unwrap().entries.remove(&name).unwrap();
        });
    }

    /// The entry at a path of the live share.
    pub fn node(&self, account: &str, share: &str, path: &str) -> Option<Node> {
        let parts: Vec<_> = path.split('/').map(str::to_owned).collect();
        self.world().account(account)?.shares.get(share)?.root.node(&parts).ok().cloned()
    }

    /// A share as it is.
    pub fn share(&self, account: &str, share: &str) -> Option<Share> {
        self.world().account(account)?.shares.get(share).cloned()
    }

    /// The maximum number of subscriptions, accounts, shares or entries in a list: 2 unless this is called.
    pub fn set_page_size(&self, entries: usize) {
        self.world().page_size = entries;
    }

    /// Whether tokens are refused because the client's secret has expired.
    pub fn set_secret_expired(&self, expired: bool) {
        self.world().secret_expired = expired;
    }

    /// Lets Resource Manager's links to a next page point to another server.
    pub fn set_next_link_base(&self, base: &str) {
        self.world().next_link_base = Some(base.to_owned());
    }

    /// Forgets all tokens, as if they had expired.
    pub fn forget_tokens(&self) {
        self.world().tokens.clear();
    }

    /// Adds a fault. Of several that match a request the first applies.
    pub fn fault(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// How often an operation was carried out or refused by its service. Requests that a fault answered do not count.
    pub fn count(&self, operation: &str) -> usize {
        self.world().requests.iter().filter(|request| request.operation == operation).count()
    }

    /// Every request since the start or [`FakeAzure::forget_requests`].
    pub fn requests(&self) -> Vec<Logged> {
        self.world().requests.clone()
    }

    /// Resets the counts, except for deletions of live shares.
    pub fn forget_requests(&self) {
        let mut world = self.world();
        world.requests.clear();
        (world.content_sent, world.content_received) = (0, 0);
    }

    /// Bytes of files' content sent.
    pub fn content_sent(&self) -> u64 {
        self.world().content_sent
    }

    /// Bytes of files' content received.
    pub fn content_received(&self) -> u64 {
        self.world().content_received
    }

    /// Requests that did or could have deleted a live share. A backup must never send one.
    pub fn live_share_deletes(&self) -> Vec<String> {
        self.world().live_share_deletes.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

impl Drop for FakeAzure {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// Ignores poisoning, which would hide the original failure of a test.
fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, world: &Mutex<World>) {
    stream.set_nodelay(true).ok();
    let Ok(mut write) = stream.try_clone() else { return };
    let mut read = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut read) {
        let fault = faults::take(&mut lock(world).faults, &request);
        let is_storage = !is_token(&request) && !is_arm(&request);
        let refuse = if is_storage { storage_error } else { arm_error };
        let mut operation = "";
        let response = faults::answer(fault, &request, refuse, |request| {
            let mut world = lock(world);
            world.operation = "";
            let response = route(&mut world, request);
            operation = world.operation;
            response
        });
        let response = response.map(|response| if is_storage { dated(response, &request) } else { response });
        let logged = Logged {
            method: request.method.clone(),
            target: request.target.clone(),
            operation: operation.to_owned(),
            status: response.as_ref().map_or(0, |response| response.status),
        };
        lock(world).requests.push(logged);
        let kept_open =
            response.is_some_and(|response| response.write(&mut write, &request).unwrap_or(false));
        if !kept_open {
            write.shutdown(std::net::Shutdown::Both).ok();
            return;
        }
    }
}

/// Adds the headers of every answer of a storage service.
fn dated(response: Response, request: &Request) -> Response {
    let version = request.header("x-ms-version").unwrap_or("2025-05-05").to_owned();
    response
        .with("x-ms-request-id", "5a6e0000-001a-0000-0000-000000000000")
        .with("x-ms-version", version)
        .with("Date", super::world::http_date(Timestamp::now()))
}

fn is_token(request: &Request) -> bool {
    request.path().ends_with("/oauth2/v2.0/token")
}

fn is_arm(request: &Request) -> bool {
    request.path().starts_with("/subscriptions")
}

fn route(world: &mut World, request: &Request) -> Response {
    let sends = matches!(request.method.as_str(), "PUT" | "POST");
    let chunked = request.header("transfer-encoding").is_some();
    if sends
        && request.header("content-length").is_none()
        && (!chunked || !is_token(request) && !is_arm(request))
    {
        return storage_error(411, "MissingContentLengthHeader");
    }
    if is_token(request) {
        arm::token(world, request)
    } else if is_arm(request) {
        arm::serve(world, request)
    } else {
        files::serve(world, request)
    }
}
