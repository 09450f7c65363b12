//! The typed options of sources in the module for NixOS, held in step with what the program reads and with the documentation.
//! They are evaluated without nixpkgs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{Map, Value, json};
use testkit::{Tool, skip_unless};
use tik_backup::config::Config;

use super::units::nix_eval;

const KINDS: [&str; 5] = ["postgres", "mysql", "mongodb", "azure-storage", "directory"];

/// As much of nixpkgs' library as the files of the options use.
const LIBRARY: &str = "{
  mkOption = option: option;
  types = {
    nullOr = type: type; submodule = type: type; listOf = _: { }; enum = _: { }; either = _: _: { }; strMatching = _: { };
    str = { }; bool = { }; port = { }; ints = { between = _: _: { }; unsigned = { }; };
  };
}";

/// The options of each kind of source: the name of each with what the module says of it.
fn options() -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("nix/modules/backup/sources");
    let groups = nix_eval(&format!(
        "let
          lib = {LIBRARY};
          folder = {};
          fields = import (folder + \"/fields.nix\") {{ inherit lib; }};
          files = builtins.filter (name: name != \"default.nix\" && name != \"fields.nix\")
            (builtins.attrNames (builtins.readDir folder));
        in
        builtins.concatLists (map (name: import (folder + \"/${{name}}\") {{ inherit fields lib; }}) files)",
        folder.display()
    ));
    let mut all: BTreeMap<_, BTreeMap<String, Value>> = BTreeMap::new();
    for group in groups.as_array().unwrap() {
        for kind in KINDS {
            let fits = group["kinds"].as_array().is_none_or(|kinds| kinds.iter().any(|one| one == kind));
            for (name, option) in group["options"].as_object().unwrap().iter().filter(|_| fits) {
                let before = all.entry(kind).or_default().insert(name.clone(), option.clone());
                assert!(before.is_none(), "{kind}: {name} is there twice");
            }
        }
    }
    all
}

/// `passwordFile` is `password_file` in the configuration, as in sources/default.nix.
fn key(option: &str) -> String {
    let mut key = String::new();
    for letter in option.chars() {
        if letter.is_ascii_uppercase() {
            key.push('_');
        }
        key.push(letter.to_ascii_lowercase());
    }
    key
}

/// The option's example, which stands for all values of its type; each option of a table by itself.
fn examples(option: &Value) -> Vec<Value> {
    match option["type"]["options"].as_object() {
        Some(inner) => inner
            .iter()
            .flat_map(|(name, option)| {
                examples(option).into_iter().map(move |value| json!({ key(name): value }))
            })
            .chain([Value::Object(
                option["example"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(name, value)| (key(name), value.clone()))
                    .collect(),
            )])
            .collect(),
        // A switch has none.
        None => vec![option.get("example").cloned().unwrap_or(Value::Bool(true))],
    }
}

/// Sources of a kind that are complete without the option: with a host, and found in Azure.
fn complete(kind: &str) -> Vec<Value> {
    let azure =
        json!({ "tenant_id_file": "/run/t", "client_id_file": "/run/c", "client_secret_file": "/run/s" });
    match kind {
        "postgres" | "mysql" => {
            let mut found = azure;
            found["azure"] = true.into();
            found["user"] = "u".into();
            vec![json!({ "host": "db", "user": "u", "sslcert": "/etc/c", "sslkey": "/etc/k" }), found]
        }
        "mongodb" => vec![json!({ "uri_file": "/run/u" })],
        "azure-storage" => vec![azure],
        _ => vec![json!({ "paths": ["/srv"] })],
    }
}

fn read(source: &Value) -> Result<(), String> {
    let config = json!({
        "repository": { "location": "/mnt/repo", "password_file": "/run/p" },
        "sources": { "one": source },
    });
    let table: toml::Table = serde_json::from_value(config).unwrap();
    Config::parse(&toml::to_string(&table).unwrap(), Path::new("/etc/c.toml"))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn the_program_reads_every_option_of_a_source() {
    skip_unless!(Tool::Nix);
    let mut tried = 0;
    for (kind, options) in options() {
        for (name, option) in options {
            for value in examples(&option) {
                let results: Vec<_> = complete(kind)
                    .into_iter()
                    .map(|mut source| {
                        source["kind"] = kind.into();
                        source[key(&name)] = value.clone();
                        read(&source)
                    })
                    .collect();
                assert!(results.iter().any(Result::is_ok), "{kind}: {name} = {value}: {results:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

/// The keys in the first column of the tables between two headings of docs/configuration.md.
fn documented(text: &str, from: &str, to: &str) -> BTreeSet<String> {
    let (_, section) = text.split_once(&format!("\n{from}\n")).unwrap();
    let (section, _) = section.split_once(&format!("\n{to}")).unwrap();
    let cells =
        section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_documented_key_of_a_source_is_an_option() {
    skip_unless!(Tool::Nix);
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let mut common = documented(&text, "## `[sources.NAME]`", "### Schedules");
    assert!(common.remove("kind"));
    common.insert("anomalies".to_owned());
    let azure = documented(&text, "### `kind = \"azure-storage\"`", "A `postgres` or `mysql` source");
    let cloud = ["authority", "management_endpoint", "management_scope", "storage_scope"];
    let principal = ["tenant_id_file", "client_id_file", "client_secret_file"];
    let keys = |options: &Map<String, Value>| options.keys().map(|name| key(name)).collect::<BTreeSet<_>>();
    for (kind, options) in options() {
        let heading = format!("### `kind = \"{kind}\"`");
        let mut expected = match kind {
            "azure-storage" => azure.clone(),
            "directory" => documented(&text, &heading, "## "),
            _ => documented(&text, &heading, "### "),
        };
        if ["postgres", "mysql"].contains(&kind) {
            expected.extend(cloud.into_iter().chain(principal).map(str::to_owned));
            expected.extend(["azure".to_owned(), "exclude_servers".to_owned()]);
        }
        expected.extend(common.iter().cloned());
        assert_eq!(options.keys().map(|name| key(name)).collect::<BTreeSet<_>>(), expected, "{kind}");
        for (table, next) in [("retention", "## `[anomalies]`"), ("anomalies", "## `[drill]`")] {
            let documented = documented(&text, &format!("## `[{table}]`"), next);
            let inner = options[table]["type"]["options"].as_object().unwrap();
            assert_eq!(keys(inner), documented, "{table}");
        }
    }
}
