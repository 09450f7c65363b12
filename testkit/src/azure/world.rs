//! The state of the fake: its objects, the requests, and the format of errors.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::json;

use super::{
    faults::Fault,
    http::Response,
    tree::{Directory, Facts, Share},
};

/// The permission that files have if none is given.
pub const PERMISSION: &str = "O:SYG:SYD:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1301bf;;;AU)";
/// The key of [`PERMISSION`].
pub const PERMISSION_KEY: &str = "4066528134148476695*1";

/// A subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub id: String,
    pub name: String,
    pub state: String,
}

/// How `listKeys` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKeys {
    /// With the keys.
    Allowed,
    /// 403 `AuthorizationFailed`.
    Forbidden,
    /// 409 `ScopeLocked`, as below a ReadOnly lock.
    Locked,
}

/// A storage account. Change its fields before it is added, or by `FakeAzure::change_account`.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    pub subscription: String,
    pub kind: String,
    /// The first key, base64.
    pub key: String,
    /// The second key, base64.
    pub second_key: String,
    pub hierarchical: bool,
    /// `allowSharedKeyAccess`, which is null if it was never set.
    pub shared_key: Option<bool>,
    pub list_keys: ListKeys,
    /// Whether its firewall refuses all requests.
    pub firewall: bool,
    /// Whether the service principal has the role to read files with a token.
    pub role: bool,
    pub blob_endpoint: Option<String>,
    pub file_endpoint: Option<String>,
    /// The maximum number of snapshots of a share.
    pub snapshot_limit: usize,
    pub shares: BTreeMap<String, Share>,
}

impl Account {
    pub(super) fn new(name: &str, subscription: &str, base: &str) -> Self {
        Self {
            name: name.to_owned(),
            subscription: subscription.to_owned(),
            kind: "StorageV2".to_owned(),
            key: BASE64_STANDARD.encode(format!("the key of {name}, padded to be long")),
            second_key: BASE64_STANDARD.encode(format!("the second key of {name}, padded to be long")),
            hierarchical: false,
            shared_key: None,
            list_keys: ListKeys::Allowed,
            firewall: false,
            role: true,
            blob_endpoint: None,
            file_endpoint: Some(format!("{base}/{name}/")),
            snapshot_limit: 200,
            shares: BTreeMap::new(),
        }
    }

    /// Its id in Resource Manager.
    pub fn id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/rg-{}/providers/Microsoft.Storage/storageAccounts/{}",
            self.subscription, self.name, self.name
        )
    }
}

/// A flexible server for databases.
#[derive(Debug, Clone)]
pub struct Server {
    /// `Microsoft.DBforPostgreSQL` or `Microsoft.DBforMySQL`.
    pub provider: String,
    pub subscription: String,
    pub name: String,
    pub host: String,
    pub version: String,
    pub state: String,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Logged {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Microsoft's name of the operation; empty if no service got the request.
    pub operation: String,
    /// 0 if there was no answer.
    pub status: u16,
}

/// Everything.
#[derive(Debug, Default)]
pub struct World {
    pub base: String,
    pub next_link_base: Option<String>,
    pub secret_expired: bool,
    /// The scopes that tokens were given for.
    pub tokens: BTreeMap<String, String>,
    pub subscriptions: Vec<Subscription>,
    pub accounts: Vec<Account>,
    pub servers: Vec<Server>,
    pub page_size: usize,
    pub faults: Vec<Fault>,
    pub requests: Vec<Logged>,
    pub operation: &'static str,
    pub content_sent: u64,
    pub content_received: u64,
    pub live_share_deletes: Vec<String>,
    pub clock: u64,
}

impl World {
    /// Records a request.
    pub fn note(&mut self, operation: &'static str) {
        self.operation = operation;
    }

    /// A number that was not issued before.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn etag(&mut self) -> String {
        format!("\"0x8DE{:012X}\"", self.tick())
    }

    pub fn facts(&mut self) -> Facts {
        let now = Timestamp::now();
        let id = (self.tick() << 24) | (1 << 63);
        Facts {
            id,
            etag: self.etag(),
            attributes: Vec::new(),
            created: now,
            written: now,
            changed: now,
            modified: now,
            permission_key: PERMISSION_KEY.to_owned(),
            metadata: Vec::new(),
        }
    }

    pub fn directory(&mut self) -> Directory {
        Directory { facts: self.facts(), entries: BTreeMap::new() }
    }

    pub fn share(&mut self, protocol: &str, quota: u64, metadata: Vec<(String, String)>) -> Share {
        Share {
            protocol: protocol.to_owned(),
            quota,
            metadata,
            root: self.directory(),
            snapshots: Vec::new(),
            permissions: BTreeMap::from([(PERMISSION_KEY.to_owned(), PERMISSION.to_owned())]),
            deleted: false,
        }
    }

    pub fn account(&mut self, name: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.name == name)
    }
}

/// An error as the storage services send it.
pub fn storage_error(status: u16, code: &str) -> Response {
    let message = match code {
        "AuthenticationFailed" => "The value of the Authorization header is not formed correctly.",
        "AuthorizationFailure" => "This request is not authorized to perform this operation.",
        "AuthorizationPermissionMismatch" => "The permissions do not suffice for this operation.",
        "KeyBasedAuthenticationNotPermitted" => "The storage account does not permit keys.",
        "ResourceNotFound" => "The specified resource does not exist.",
        "ParentNotFound" => "The specified parent path does not exist.",
        "ShareNotFound" => "The specified share does not exist.",
        "ShareSnapshotInProgress" => "Another share snapshot is being taken.",
        "ShareSnapshotCountExceeded" => "The share has as many snapshots as it may have.",
        "ServerBusy" => "The server is currently unable to receive requests.",
        _ => "The request is refused.",
    };
    // Microsoft's own clients need a message that is not empty.
    let body = format!(
        "<Error><Code>{code}</Code><Message>{message}\nRequestId:5a6e0000-001a-0000-0000-000000000000\n\
         Time:{}</Message></Error>",
        Timestamp::now()
    );
    Response::xml(status, &body).with("x-ms-error-code", code)
}

/// An error as Resource Manager sends it.
pub fn arm_error(status: u16, code: &str) -> Response {
    let message = match code {
        "AuthorizationFailed" => "The client does not have authorization to perform the action.",
        "ScopeLocked" => "The scope cannot perform write operations because it is locked. Remove the lock.",
        "InvalidAuthenticationTokenAudience" => "The access token has been obtained for the wrong audience.",
        _ => "The request is refused.",
    };
    Response::json(status, &json!({ "error": { "code": code, "message": message } }))
}

/// A moment with seven decimals, as files' times are written.
pub fn stamp(at: Timestamp) -> String {
    format!("{}.{:07}Z", at.strftime("%Y-%m-%dT%H:%M:%S"), at.subsec_nanosecond() / 100)
}

/// A moment as HTTP writes it.
pub fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
