//! A tenant whose blob services are real emulators and whose files, accounts and tokens come from the fake, and a
//! configuration of our program that backs it up.

use reqwest::Method;
use testkit::{
    Cmd, Config, ConfigBuilder,
    azure::{CLIENT, FakeAzure, MANAGEMENT_SCOPE, SECRET, STORAGE_SCOPE, TENANT},
    azurite::Azurite,
    program::quoted,
};
use tik_backup::{
    azure::{
        BlobService, Credential, Policy, STORAGE_VERSION,
        auth::Access,
        blob::{BlobType, Properties, Uploaded},
        http::Http,
        request::{Endpoint, Request, Service},
    },
    settings::Secret,
    stream::cancel::Cancel,
};

/// The keys with which a source logs in to the fake; the files they name are written.
pub fn principal(config: &ConfigBuilder, azure: &FakeAzure) -> String {
    let file = |name: &str, text: &str| quoted(&config.secret(name, text).to_string_lossy());
    [
        format!("tenant_id_file = {}", file("azure-tenant", TENANT)),
        format!("client_id_file = {}", file("azure-client", CLIENT)),
        format!("client_secret_file = {}", file("azure-secret", SECRET)),
        format!("authority = {}", quoted(&azure.url())),
        format!("management_endpoint = {}", quoted(&azure.url())),
        format!("management_scope = {}", quoted(MANAGEMENT_SCOPE)),
        format!("storage_scope = {}\n", quoted(STORAGE_SCOPE)),
    ]
    .join("\n")
}

/// A configuration with the source `storage`, and more keys of it. The repository is made.
pub fn storage(azure: &FakeAzure, keys: &str) -> Config {
    let builder = ConfigBuilder::new();
    let principal = principal(&builder, azure);
    let config = builder.source("storage", &format!("kind = \"azure-storage\"\n{principal}{keys}")).build();
    Cmd::with(&config).arg("init").run().ok();
    config
}

/// Adds an account to the fake whose blobs are in the emulator, and which has no files.
pub fn add_blob_account(azure: &FakeAzure, subscription: &str, azurite: &Azurite, name: &str) {
    let mut account = azure.new_account(name, subscription);
    (account.key, account.second_key) = (azurite.key(name), azurite.second_key(name));
    account.blob_endpoint = Some(azurite.endpoint(name));
    account.file_endpoint = None;
    azure.add_account(account);
}

/// A client of an account in the emulator, to fill it and to look into it.
pub fn blobs(azurite: &Azurite, account: &str) -> BlobService {
    let http = Http::new(Policy::default()).unwrap();
    let key = Credential::from_key(Secret::new(azurite.key(account)));
    BlobService::new(http, &azurite.endpoint(account), account, key).unwrap()
}

/// Makes a container if it is not there, and puts a block blob into it.
pub fn put(service: &BlobService, container: &str, name: &str, content: &[u8]) {
    put_with(service, container, name, content, BlobType::Block, &Properties::default());
}

/// As [`put`], of any type and with properties.
pub fn put_with(
    service: &BlobService,
    container: &str,
    name: &str,
    mut content: &[u8],
    kind: BlobType,
    properties: &Properties,
) {
    let cancel = Cancel::new();
    service.create_container(container, &Default::default(), &cancel).unwrap();
    let bytes = content.len() as u64;
    let uploaded =
        service.upload(container, name, kind, properties, bytes, &mut content, true, &cancel).unwrap();
    assert!(matches!(uploaded, Uploaded::Done { .. }), "{name}");
}

/// Sends a request that our own client has no need for, about a container or a blob; it must succeed. `query`
/// says what is meant of it.
pub fn ask(
    azurite: &Azurite,
    account: &str,
    method: Method,
    names: &[&str],
    query: (&str, &str),
    headers: &[(&str, &str)],
    content: &[u8],
) {
    let http = Http::new(Policy::default()).unwrap();
    let access = Access::storage(account, Credential::from_key(Secret::new(azurite.key(account))));
    let endpoint = Endpoint::parse(Service::Blob, &azurite.endpoint(account)).unwrap();
    let request = Request::new(method, &endpoint, names).unwrap().query(query.0, query.1);
    let request = request.header("x-ms-version", STORAGE_VERSION).body(content.to_vec());
    let request = headers.iter().fold(request, |request, (key, value)| request.header(key, value));
    http.send(&access, &request, &Cancel::new()).unwrap();
}

/// Deletes a container.
pub fn delete_container(azurite: &Azurite, account: &str, container: &str) {
    ask(azurite, account, Method::DELETE, &[container], ("restype", "container"), &[], b"");
}
