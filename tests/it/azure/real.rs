//! A real subscription, for whoever has one: an account that may be written to, named in the environment. Nothing is
//! removed afterwards, as this program removes nothing.

use std::{env, path::PathBuf};

use testkit::{Cmd, ConfigBuilder, program::quoted, skip};
use tik_backup::{
    azure::{
        Azure, Settings,
        blob::{BlobType, Properties},
        files::{FileProperties, FileService, SmbProperties},
    },
    settings::Secret,
    stream::cancel::Cancel,
};

use super::client::all_of;

const CONTAINER: &str = "tikbackup-test";
const RESTORED: &str = "tikbackup-restored";
/// Names that a file system cannot hold as they are, or that trip clients up.
const NAMES: [&str; 8] =
    ["plain.txt", "/lead", "a//b", "a/../b", "100% +&#?.txt", "a", "a/b", "ünï/日本 🙂.txt"];

struct Real {
    tenant: String,
    client: String,
    secret_file: PathBuf,
    account: String,
}

impl Real {
    fn find() -> Option<Self> {
        let of = |name: &str| env::var(format!("TIK_BACKUP_TEST_AZURE_{name}")).ok();
        let found = (of("TENANT"), of("CLIENT"), of("SECRET_FILE"), of("ACCOUNT"));
        let (Some(tenant), Some(client), Some(secret_file), Some(account)) = found else {
            skip("a real Azure subscription: docs/azure.md says how to name one");
            return None;
        };
        Some(Self { tenant, client, secret_file: secret_file.into(), account })
    }

    fn azure(&self) -> Azure {
        let secret = std::fs::read_to_string(&self.secret_file).unwrap().trim().to_owned();
        Azure::new(Settings::public(self.tenant.clone(), self.client.clone(), Secret::new(secret))).unwrap()
    }
}

#[test]
fn a_real_account_is_backed_up_and_restored() {
    let Some(real) = Real::find() else { return };
    let (azure, cancel) = (real.azure(), Cancel::new());
    let mut accounts = azure.subscriptions(&cancel).unwrap().into_iter();
    let account = accounts
        .find_map(|subscription| {
            let accounts = azure.storage_accounts(&subscription, &cancel).unwrap();
            accounts.into_iter().find(|account| account.name == real.account)
        })
        .expect("the service principal sees the account");
    let credential = azure.credential(&account, &cancel).unwrap();
    let blobs =
        azure.blobs(account.blob_endpoint.as_ref().unwrap(), &account.name, credential.clone()).unwrap();
    blobs.create_container(CONTAINER, &Default::default(), &cancel).unwrap();
    for name in NAMES {
        let properties = Properties { content_type: Some("text/plain".to_owned()), ..Properties::default() };
        let mut content = name.as_bytes();
        let bytes = content.len() as u64;
        blobs
            .upload(CONTAINER, name, BlobType::Block, &properties, bytes, &mut content, true, &cancel)
            .unwrap();
    }
    let files =
        FileService::new(azure.http(), account.file_endpoint.as_ref().unwrap(), &account.name, credential)
            .unwrap();
    files.create_share(CONTAINER, 1, &Default::default(), &cancel).unwrap();
    let (properties, smb) = (FileProperties::default(), SmbProperties::default());
    files.create_directory(CONTAINER, "folder", &Default::default(), &smb, true, &cancel).unwrap();
    files
        .upload(CONTAINER, "folder/file. ü%.txt", 5, &properties, &smb, &mut &b"hello"[..], true, &cancel)
        .unwrap();

    let builder = ConfigBuilder::new();
    let file = |name: &str, text: &str| quoted(&builder.secret(name, text).to_string_lossy());
    let source = format!(
        "kind = \"azure-storage\"\ntenant_id_file = {}\nclient_id_file = {}\nclient_secret_file = {}\naccounts = [{}]\n",
        file("tenant", &real.tenant),
        file("client", &real.client),
        file("secret", std::fs::read_to_string(&real.secret_file).unwrap().trim()),
        quoted(&real.account),
    );
    let config = builder.source("cloud", &source).build();
    Cmd::with(&config).arg("init").run().ok();
    let container = format!("cloud/{}/{CONTAINER}", real.account);
    let share = format!("cloud/{}/share:{CONTAINER}", real.account);
    Cmd::with(&config).args(["--json", "backup", &container, &share]).run().ok();
    let second = Cmd::with(&config).args(["--json", "backup", &container, &share]).run().ok().json();
    for item in second["items"].as_array().unwrap() {
        assert_eq!(item["outcome"], "ok", "{second:#}");
        assert!(item["bytes_read"].as_u64().unwrap() < 20_000, "unchanged content is not read: {second:#}");
    }
    let there = files.shares(&cancel).unwrap().into_iter().find(|found| found.name == CONTAINER).unwrap();
    assert!(there.snapshots.is_empty(), "the share snapshots are gone");

    let into = format!("{}/{RESTORED}", real.account);
    Cmd::with(&config).args(["restore", &container, "--into", &into, "--overwrite"]).run().ok();
    let listed = all_of(&blobs, RESTORED, None);
    let mut names: Vec<_> = listed.iter().map(|blob| blob.name.as_str()).collect();
    let mut expected = NAMES.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let into = format!("{}/share:{RESTORED}", real.account);
    Cmd::with(&config).args(["restore", &share, "--into", &into, "--overwrite"]).run().ok();
    let exists = files.has_content(RESTORED, &cancel).unwrap();
    assert!(exists);
}
