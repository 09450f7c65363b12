//! The blob containers and the file shares of a storage account as subjects of the suite.

use testkit::{
    ConfigBuilder,
    azure::{self, FakeAzure, Fault},
    azurite::Azurite,
    running::Hold,
};
use tik_backup::{azure::BlobService, stream::cancel::Cancel};

use super::{
    pieces,
    subject::{Offer, Report, SOURCE, Subject},
};
use crate::azure::{
    client::{all_of, get_from},
    relay::{Relay, relayed},
    shares,
    support::{blobs, delete_container, principal, put},
};

/// The report of a restored container or share.
const STORAGE: Report = Report { part: "storage", target: Some("into"), rows: "files", tables: None };

/// Why there is no tool that dumps, or could be held.
const NO_TOOLS: &str = "the program itself asks the service";

/// Why nothing of an account is left out unless the configuration says so.
const NOTHING_BUILT_IN: &str =
    "every container and share of a storage account is backed up unless it is excluded";

/// What an account with a firewall answers, for which nothing else of the item is tried.
const REFUSED: &str = "AuthorizationFailure";

/// Names as hard as Azure allows them: lower-case letters, digits and single hyphens, and almost as long as possible.
fn odd_names() -> Vec<&'static str> {
    vec!["123", "0-a-1-b", "a-name-as-long-as-azure-allows-less-the-digit-of-the-copy-abcd"]
}

fn add_to(builder: ConfigBuilder, azure: &FakeAzure, more: &str) -> ConfigBuilder {
    let principal = principal(&builder, azure);
    builder.source(SOURCE, &format!("kind = \"azure-storage\"\n{principal}{more}"))
}

/// The account of [`relayed`].
const ACCOUNT: &str = "acct";

/// The containers of an account in the emulator, which the program reaches through a relay.
pub struct Containers {
    azurite: Azurite,
    relay: Relay,
    azure: FakeAzure,
    service: BlobService,
}

impl Containers {
    pub fn start() -> Self {
        let (azurite, relay, azure) = relayed();
        let service = blobs(&azurite, ACCOUNT);
        Self { azurite, relay, azure, service }
    }
}

impl Subject for Containers {
    fn kind(&self) -> &'static str {
        "azure-storage"
    }

    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder {
        add_to(builder, &self.azure, more)
    }

    fn secrets(&self) -> Offer<Vec<String>> {
        Ok(vec![azure::SECRET.to_owned()])
    }

    fn received_secrets(&self) -> Vec<String> {
        vec![self.azure.key(ACCOUNT), self.azure.second_key(ACCOUNT)]
    }

    fn name(&self, item: &str) -> String {
        format!("{ACCOUNT}/{item}")
    }

    fn create(&self, item: &str, texts: &[String]) {
        for (name, content) in pieces::of(texts) {
            put(&self.service, item, &name, content.as_bytes());
        }
    }

    fn rows(&self, texts: usize) -> usize {
        pieces::count(texts)
    }

    fn create_empty(&self, item: &str) {
        self.service.create_container(item, &Default::default(), &Cancel::new()).unwrap();
    }

    fn add(&self, item: &str, text: &str) {
        put(&self.service, item, "added.txt", text.as_bytes());
    }

    fn remove(&self, item: &str) {
        delete_container(&self.azurite, ACCOUNT, item);
    }

    fn content(&self, item: &str) -> String {
        let mut text = String::new();
        for blob in all_of(&self.service, item, None) {
            let content = get_from(&self.service, item, &blob);
            let (name, content_type) = (&blob.name, &blob.properties.content_type);
            text += &format!("{name} {content_type:?} {}\n", String::from_utf8_lossy(&content));
        }
        text
    }

    fn odd_names(&self) -> Vec<&'static str> {
        odd_names()
    }

    fn exclusion(&self, pattern: &str) -> Offer<(String, String)> {
        let key = "exclude_containers";
        Ok((format!("{key} = [\"{pattern}\"]"), format!("{key} = \"{pattern}\"")))
    }

    fn never_backed_up(&self) -> Offer<&'static str> {
        Err(NOTHING_BUILT_IN)
    }

    fn has_estimates(&self) -> bool {
        false
    }

    fn into(&self, item: &str) -> String {
        format!("--into={}", self.name(item))
    }

    fn report(&self) -> Report {
        STORAGE
    }

    // One that was read before would not be read again.
    fn break_off(&self, item: &str) {
        put(&self.service, item, pieces::LATE_FILE, b"changed");
        // The slash in its name may be encoded. Nothing else in the directory is read again.
        let read = format!("GET /{ACCOUNT}/{item}/{}", pieces::LATE);
        self.relay.answer(&read, u32::MAX, &format!("403 Forbidden\r\nx-ms-error-code: {REFUSED}"));
    }

    fn heal(&self, _item: &str) {
        self.relay.forget();
    }

    fn hold(&self, _item: &str) -> Offer<Hold> {
        Err(NO_TOOLS)
    }

    fn has_tools(&self) -> Offer<()> {
        Err(NO_TOOLS)
    }
}

/// The shares of an account of the fake.
pub struct Shares {
    azure: FakeAzure,
}

impl Shares {
    pub fn start() -> Self {
        let azure = FakeAzure::start();
        let subscription = azure.add_subscription("Production");
        azure.add_account(azure.new_account(shares::ACCOUNT, &subscription));
        azure.set_page_size(100);
        Self { azure }
    }
}

impl Subject for Shares {
    fn kind(&self) -> &'static str {
        "azure-storage"
    }

    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder {
        add_to(builder, &self.azure, more)
    }

    fn secrets(&self) -> Offer<Vec<String>> {
        Ok(vec![azure::SECRET.to_owned()])
    }

    fn received_secrets(&self) -> Vec<String> {
        vec![self.azure.key(shares::ACCOUNT), self.azure.second_key(shares::ACCOUNT)]
    }

    fn name(&self, item: &str) -> String {
        format!("{}/share:{item}", shares::ACCOUNT)
    }

    fn create(&self, item: &str, texts: &[String]) {
        self.create_empty(item);
        for (name, content) in pieces::of(texts) {
            self.azure.put_file(shares::ACCOUNT, item, &name, content);
        }
    }

    fn rows(&self, texts: usize) -> usize {
        pieces::count(texts)
    }

    fn create_empty(&self, item: &str) {
        self.azure.add_share(shares::ACCOUNT, item);
    }

    fn add(&self, item: &str, text: &str) {
        self.azure.put_file(shares::ACCOUNT, item, "added.txt", text);
    }

    fn remove(&self, item: &str) {
        self.azure.change_account(shares::ACCOUNT, |account| {
            account.shares.remove(item).unwrap();
        });
    }

    fn content(&self, item: &str) -> String {
        let line = |(path, (properties, content)): (String, (String, Vec<u8>))| {
            format!("{path} {properties} {}\n", String::from_utf8_lossy(&content))
        };
        shares::tree(&self.azure, item).into_iter().map(line).collect()
    }

    fn odd_names(&self) -> Vec<&'static str> {
        odd_names()
    }

    fn exclusion(&self, pattern: &str) -> Offer<(String, String)> {
        let key = "exclude_shares";
        Ok((format!("{key} = [\"{pattern}\"]"), format!("{key} = \"{pattern}\"")))
    }

    fn never_backed_up(&self) -> Offer<&'static str> {
        Err(NOTHING_BUILT_IN)
    }

    fn has_estimates(&self) -> bool {
        false
    }

    fn into(&self, item: &str) -> String {
        format!("--into={}", self.name(item))
    }

    fn report(&self) -> Report {
        STORAGE
    }

    // The list of a directory within the share, so that the files of the share's root are read.
    fn break_off(&self, item: &str) {
        let list = format!("/{item}/{}?", pieces::LATE);
        self.azure.fault(Fault::answer("GET", &list, 403, REFUSED).always());
    }

    fn heal(&self, _item: &str) {
        self.azure.forget_faults();
    }

    fn hold(&self, _item: &str) -> Offer<Hold> {
        Err(NO_TOOLS)
    }

    fn has_tools(&self) -> Offer<()> {
        Err(NO_TOOLS)
    }
}
