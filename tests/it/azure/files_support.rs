//! What the tests of the File service's client stand on.

use std::{io::Read, time::Duration};

use testkit::azure::{CLIENT, FakeAzure, MANAGEMENT_SCOPE, SECRET, STORAGE_SCOPE, TENANT};
use tik_backup::{
    azure::{
        Azure, Settings,
        auth::Credential,
        files::{FileProperties, FileService, ShareSnapshot},
        http::Http,
        retry::Policy,
    },
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

/// What marks the snapshots of these tests.
pub const MARK: (&str, &str) = ("tik_backup", "run1");

/// An account `acct` with an empty share `docs`.
pub fn start() -> FakeAzure {
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    azure.add_account(azure.new_account("acct", &subscription));
    azure.add_share("acct", "docs");
    azure
}

/// A client that is quick to try again, so that tests of failures are short.
pub fn quick() -> Policy {
    let pause = Duration::from_millis(20);
    Policy { first_pause: pause, longest_pause: pause, total: Duration::from_secs(1), ..Policy::default() }
}

/// The client of the account, for whoever holds the credential.
pub fn files_as(azure: &FakeAzure, credential: Credential, policy: Policy) -> FileService {
    let http = Http::new(policy).unwrap();
    FileService::new(&http, &format!("{}/acct/", azure.url()), "acct", credential).unwrap()
}

/// The client with the account's key.
pub fn with_key(azure: &FakeAzure) -> FileService {
    files_as(azure, Credential::from_key(Secret::new(azure.key("acct"))), quick())
}

/// The client with tokens of the service principal.
pub fn with_token(azure: &FakeAzure) -> FileService {
    let settings = Settings {
        tenant: TENANT.to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: Secret::new(SECRET.to_owned()),
        authority: azure.url(),
        management: azure.url(),
        management_scope: MANAGEMENT_SCOPE.to_owned(),
        storage_scope: STORAGE_SCOPE.to_owned(),
    };
    files_as(azure, Azure::new(settings).unwrap().bearer(), quick())
}

/// A file of a snapshot, whole.
pub fn read(
    files: &FileService,
    snapshot: &ShareSnapshot,
    path: &str,
    bytes: u64,
) -> Result<(FileProperties, Vec<u8>)> {
    let (properties, mut content) = files.download(snapshot, path, bytes, &Cancel::new())?;
    let mut all = Vec::new();
    content.read_to_end(&mut all).map_err(|error| Error::from_io("reading", error))?;
    Ok((properties, all))
}

/// A snapshot of `docs`.
pub fn snapshot(files: &FileService) -> ShareSnapshot {
    files.take_snapshot("docs", &[MARK], &Cancel::new()).unwrap()
}

/// Bytes that differ and are never zero.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 31 % 251).unwrap() | 1).collect()
}
