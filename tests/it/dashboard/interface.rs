//! The JSON API: the field names of the command line, and the OpenAPI description.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;
use testkit::{Cmd, Tool, skip_unless};

use super::{
    house::{House, ITEMS, MARKUP},
    server::Server,
};

/// Every field of a document, with its place.
fn fields(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                into.insert(format!("{at}.{key}"));
                fields(value, &format!("{at}.{key}"), into);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{at}[]"), into)),
        _ => {}
    }
}

fn field_names(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    fields(value, "", &mut names);
    names
}

#[test]
fn programs_get_what_the_command_line_says_and_what_is_described() {
    let house = House::build();
    let server = Server::start(&house.config.path(), &[]);
    // The first survey of the repository takes place while pages are already served.
    while server.json("/api/v1/status")["repository"]["snapshots"] == 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let status = server.json("/api/v1/status");
    let mut printed = Cmd::with(&house.config).args(["--json", "status"]).run().ok().json();
    assert!(printed.as_object_mut().unwrap().remove("causes").is_some());
    assert_eq!(field_names(&status), field_names(&printed));
    assert_eq!(status["summary"]["states"], printed["summary"]["states"]);

    let items = server.json("/api/v1/items?source=tenants");
    assert_eq!(items["items"].as_array().unwrap().len(), ITEMS + 1);
    let failed = server.json("/api/v1/items?state=failed&q=TENANT_0007");
    assert_eq!(failed["items"][0]["item"], "tenant_0007");
    let odd = server.json(&format!("/api/v1/item?source=files&item={}", percent(MARKUP)));
    assert_eq!(odd["entry"]["item"], MARKUP);
    assert_eq!(odd["snapshots"].as_array().unwrap().len(), 2);
    assert!(odd["snapshots"][0]["keep"] == true && odd["snapshots"][0]["reasons"][0].is_string(), "{odd:#}");
    let plain = server.json("/api/v1/item?source=files&item=plain");
    assert_eq!(plain["drills"][0]["outcome"], "proven");
    let tenant = server.json("/api/v1/item?source=tenants&item=tenant_0007");
    assert_eq!(tenant["attempts"].as_array().unwrap().len(), 366);
    assert!(tenant["attempts"][0]["error"].as_str().unwrap().starts_with("permission denied"));

    let runs = server.json("/api/v1/runs?limit=2");
    assert_eq!(runs["runs"][0]["run"], "going-on");
    assert_eq!(runs["runs"][0]["progress"]["done"], 411);
    let older = server.json(&format!("/api/v1/runs?before={}", runs["runs"][1]["run"].as_str().unwrap()));
    assert_eq!(older["runs"].as_array().unwrap().len(), 50);
    assert_eq!(server.json("/api/v1/runs/going-on")["attempts"][0]["outcome"], "running");
    assert_eq!(server.get("/api/v1/runs/none", &[]).status, 404);
    assert_eq!(server.get("/api/v1/items?state=nonsense", &[]).status, 400);

    let metrics = server.get("/metrics", &[]).body;
    let printed = Cmd::with(&house.config).args(["status", "--prometheus"]).run().ok().stdout;
    let names = |text: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
    };
    assert_eq!(names(&metrics), names(&printed));
    for path in ["/api/v1/status", "/api/v1/runs?limit=2", "/api/v1/runs/going-on"] {
        let times = times(&server.json(path));
        assert!(!times.is_empty() && times.iter().all(|time| !time.contains('[')), "{path}: {times:?}");
    }
    described(&server, &house);
}

fn described(server: &Server, house: &House) {
    let document = server.json("/api/v1/openapi.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let written: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        written, document,
        "docs/openapi.json is out of date: it is what /api/v1/openapi.json answers"
    );
    assert!(house.history().run("going-on").unwrap().is_some());
    skip_unless!(Tool::Schemathesis);
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(Tool::Schemathesis.path().unwrap())
        .args([
            "run",
            "--checks",
            "all",
            "--max-examples",
            "15",
            "--seed",
            "1",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--exclude-checks", "unsupported_method,ignored_auth"])
        .arg(format!("{}api/v1/openapi.json", server.address))
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// All strings in a document that are times.
fn times(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(times).collect(),
        Value::Object(fields) => fields.values().flat_map(times).collect(),
        _ => Vec::new(),
    }
}
