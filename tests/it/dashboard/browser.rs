//! The dashboard in a real browser.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use testkit::{Cmd, Tool, skip_unless};

use super::{
    house::{House, MARKUP},
    server::Server,
};

#[test]
fn people_see_what_is_true_in_any_light_on_any_screen() {
    skip_unless!(Tool::Browser);
    let house = House::build();
    let server = Server::start(&house.config.path(), &[]);
    // The first survey of the repository takes place while pages are already served.
    while server.json("/api/v1/status")["repository"]["snapshots"] == 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let report = house.config.dir().join("report.html");
    Cmd::with(&house.config).args(["report", "--html"]).arg(&report).run().ok();
    let screens = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dashboard");
    fs::create_dir_all(&screens).unwrap();
    let task = json!({
        "address": server.address, "report": format!("file://{}", report.display()), "screens": screens, "markup": MARKUP,
        "modules": Tool::Browser.path().unwrap().join("node_modules"),
    });
    let output = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dashboard/look.cjs"))
        .arg(task.to_string())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let seen: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}\n{stderr}"));
    assert_eq!(seen["foreign"], json!([]), "requests to other hosts");
    assert_eq!(seen["console"], json!([]), "messages in the console");
    assert_eq!(seen["dialogs"], json!([]), "markup in a name has run");
    assert_eq!(seen["violations"], json!([]), "{:#}", seen["violations"]);
    assert_eq!(seen["wide"], json!([]), "pages that are wider than a narrow screen");
    for (question, answer) in seen["answers"].as_object().unwrap() {
        assert_eq!(answer, true, "{question}");
    }
    assert!(seen["answers"].as_object().unwrap().len() >= 14, "{seen:#}");
}
