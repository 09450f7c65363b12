//! Holds the fake against Microsoft's own clients: a fake that they misunderstand proves nothing.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use testkit::{
    Tool,
    azure::{CLIENT, FakeAzure, MANAGEMENT_SCOPE, Node, PERMISSION_KEY, SECRET, Server, TENANT},
    skip_unless,
};

/// A token for Resource Manager, as `curl` would get it.
fn token(azure: &FakeAzure) -> String {
    use std::{io::Read, net::TcpStream};
    let encode = |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
        encode(CLIENT),
        encode(SECRET),
        encode(MANAGEMENT_SCOPE)
    );
    let mut stream = TcpStream::connect(azure.url().strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /{TENANT}/oauth2/v2.0/token HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

fn ask(given: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/azure/microsoft.py");
    let mut child = Command::new(Tool::AzurePython.path().unwrap())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Microsoft's clients are not content: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn microsofts_clients_understand_the_fake() {
    skip_unless!(Tool::AzurePython);
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    azure.add_subscription("Test");
    azure.add_subscription("Third & last");
    for name in ["alpha", "beta", "gamma"] {
        let mut account = azure.new_account(name, &subscription);
        if name == "beta" {
            account.shared_key = Some(false);
            account.hierarchical = true;
            account.blob_endpoint = Some("https://beta.blob.core.windows.net/".to_owned());
            account.file_endpoint = None;
        }
        azure.add_account(account);
    }
    for (provider, name) in [("Microsoft.DBforPostgreSQL", "pg"), ("Microsoft.DBforMySQL", "my")] {
        azure.add_server(Server {
            provider: provider.to_owned(),
            subscription: subscription.clone(),
            name: name.to_owned(),
            host: format!("{name}.example.net"),
            version: "16".to_owned(),
            state: "Ready".to_owned(),
        });
    }
    for share in ["first", "second", "third"] {
        azure.add_share("alpha", share);
    }
    let contents = [
        ("readme.txt", b"0123456789".to_vec()),
        ("empty", Vec::new()),
        ("Größe & 'Maß' + 100%.txt", b"unicode".to_vec()),
        ("a b/c#d/deep;name..", b"trailing dots".to_vec()),
        ("a b/\u{1}\u{fffe}", b"no XML".to_vec()),
    ];
    for (path, content) in &contents {
        azure.put_file("alpha", "second", path, content.clone());
    }
    let answers = ask(&json!({
        "url": azure.url(), "token": token(&azure), "subscription": subscription, "account": "alpha",
        "key": azure.key("alpha"), "share": "second",
    }));

    let managed = &answers["managed"];
    assert_eq!(managed["subscriptions"].as_array().unwrap().len(), 3);
    assert_eq!(managed["subscriptions"][2][1], "Third & last");
    let url = azure.url();
    let expected = json!([
        ["alpha", format!("{url}/alpha/"), null, null, null],
        ["beta", null, "https://beta.blob.core.windows.net/", true, false],
        ["gamma", format!("{url}/gamma/"), null, null, null],
    ]);
    assert_eq!(managed["accounts"], expected);
    assert_eq!(managed["keys"], json!([azure.key("alpha"), azure.second_key("alpha")]));
    assert_eq!(managed["postgres"][0][1], "pg.example.net");
    assert_eq!(managed["mysql"], json!([["my", "my.example.net"]]));

    check_files(&azure, &answers["files"], &contents);
}

fn check_files(azure: &FakeAzure, files: &Value, contents: &[(&str, Vec<u8>)]) {
    let listed = files["listed"].as_array().unwrap();
    assert_eq!(listed.len(), 4, "three shares and a snapshot: {listed:?}");
    let snapshot = json!(["second", files["snapshot"], { "tik_backup": "a_b", "tik1": "c" }, ["SMB"], 100]);
    assert!(listed.contains(&snapshot), "{listed:?}");
    let found = files["found"].as_array().unwrap();
    assert_eq!(found.len(), contents.len() + 2, "files and two directories: {found:?}");
    for (path, content) in contents {
        let entry = found.iter().find(|entry| entry["path"] == *path).unwrap();
        assert_eq!(entry["size"], content.len());
        assert_eq!(entry["attributes"], "Archive");
        assert_eq!(entry["permission"], PERMISSION_KEY);
        assert_eq!((&entry["etag"], &entry["id"]), (&json!(true), &json!(true)));
        let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(files["reads"][*path], hex);
    }
    assert_eq!(files["part"], "234");
    assert_eq!(files["permission"], "O:BAG:BAD:(A;;FA;;;BA)");
    assert_eq!(files["exists"], "ResourceAlreadyExists");
    assert_eq!(files["missing"], "ResourceNotFound");
    assert_eq!(files["left"], json!([]));
    assert_eq!(files["uploaded"][0], 5_000_007);
    assert_eq!(files["uploaded"][1], json!({ "who": "me" }));
    assert!(files["uploaded"][2].as_str().unwrap().contains("Hidden"));
    let Some(Node::File(uploaded)) = azure.node("alpha", "second", "up/loaded ä+%.bin") else {
        panic!("it was not uploaded");
    };
    assert!(uploaded.content.ends_with(b"\0the end"));
    assert_eq!(azure.live_share_deletes(), Vec::<String>::new());
}
