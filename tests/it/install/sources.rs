//! The module for NixOS has an option for every key of a source, of a type that fits, and the program reads what is set with
//! it. The options come from nix/docs/options.nix, the keys from docs/configuration.md; nixpkgs is not needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{Map, Value, json};
use testkit::{Tool, skip_unless};
use tik_backup::config::Config;

use super::{
    evaluation,
    nix::root,
    options::{Declared, options},
};

const KINDS: [&str; 5] = ["postgres", "mysql", "mongodb", "azure-storage", "directory"];
/// The first lines of the sections of docs/configuration.md whose keys several kinds have.
const AZURE_STORAGE: &str = "### `kind = \"azure-storage\"`";
const FOUND_IN_AZURE: &str = "A `postgres` or `mysql` source may have `azure = true`";
const DIRECTORY: &str = "### `kind = \"directory\"`";

/// The options of sources by the keys that they stand for; those of a table as `retention.keep_daily`. `kind` is not among
/// them: the other options depend on it.
fn of_sources() -> BTreeMap<String, Declared> {
    let all = options().into_iter();
    let of_sources =
        all.filter_map(|(name, option)| Some((key(name.strip_prefix("sources.<name>.")?), option)));
    of_sources.filter(|(key, _)| key != "kind").collect()
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

fn is_for(option: &Declared, kind: &str) -> bool {
    option.kinds.is_empty() || option.kinds.iter().any(|one| one == kind)
}

/// The example of each option, which represents all values of its type. A switch has none and is tried as `true`.
fn examples(options: &BTreeMap<String, Declared>) -> BTreeMap<&str, Value> {
    let text = |(key, option): (&String, &Declared)| match &option.example {
        Some(example) => format!("({example})"),
        None => {
            assert!(option.kind.contains("boolean"), "{key} has no example");
            "true".to_owned()
        }
    };
    let list = options.iter().map(text).collect::<Vec<_>>().join("\n");
    let values = evaluation::value(&format!("[\n{list}\n]"));
    let values = values.as_array().unwrap().iter().map(|value| match value {
        Value::Object(table) => {
            table.iter().map(|(name, value)| (key(name), value.clone())).collect::<Map<_, _>>().into()
        }
        value => value.clone(),
    });
    options.keys().map(String::as_str).zip(values).collect()
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
    let options = of_sources();
    let mut tried = 0;
    for (key, value) in examples(&options) {
        for kind in KINDS.iter().filter(|kind| is_for(&options[key], kind)) {
            let with = |mut source: Value| {
                source["kind"] = (*kind).into();
                match key.split_once('.') {
                    Some((table, inner)) => source[table] = json!({ inner: value.clone() }),
                    None => source[key] = value.clone(),
                }
                read(&source)
            };
            let results: Vec<_> = complete(kind).into_iter().map(with).collect();
            assert!(results.iter().any(Result::is_ok), "{kind}: {key} = {value}: {results:?}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

/// The keys in the first column of the tables of docs/configuration.md, with their types: from the line that begins with
/// `from` to the next one that begins with `to`.
fn documented(text: &str, from: &str, to: &str) -> BTreeMap<String, String> {
    let (_, section) = text.split_once(&format!("\n{from}")).unwrap_or_else(|| panic!("{from}"));
    let (section, _) = section.split_once(&format!("\n{to}")).unwrap_or_else(|| panic!("{to}"));
    let mut keys = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let (names, kind) = (cells.next().unwrap(), cells.next().unwrap());
        keys.extend(names.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), kind.to_owned())));
    }
    assert!(!keys.is_empty(), "{from}");
    keys
}

/// The keys of sources of a kind that docs/configuration.md has, with their types.
fn keys_of(kind: &str, text: &str) -> BTreeMap<String, String> {
    let mut keys = documented(text, "## `[sources.NAME]`", "### Schedules");
    keys.remove("kind").unwrap();
    keys.insert("anomalies".to_owned(), "table".to_owned());
    let heading = format!("### `kind = \"{kind}\"`");
    let azure = documented(text, AZURE_STORAGE, FOUND_IN_AZURE);
    keys.extend(match kind {
        "azure-storage" => azure.clone(),
        "directory" => documented(text, &heading, "## "),
        _ => documented(text, &heading, "### "),
    });
    if ["postgres", "mysql"].contains(&kind) {
        let of_the_tenant = ["tenant_id_file", "client_id_file", "client_secret_file"];
        let of_the_cloud = ["authority", "management_endpoint", "management_scope", "storage_scope"];
        let shared = of_the_tenant.into_iter().chain(of_the_cloud);
        keys.extend(shared.map(|key| (key.to_owned(), azure[key].clone())));
        keys.extend(documented(text, FOUND_IN_AZURE, DIRECTORY));
    }
    for (table, next) in [("retention", "## `[anomalies]`"), ("anomalies", "## `[drill]`")] {
        let inner = documented(text, &format!("## `[{table}]`"), next);
        keys.extend(inner.into_iter().map(|(key, kind)| (format!("{table}.{key}"), kind)));
    }
    keys
}

/// Whether the type of an option fits the documented type of the key.
fn fits(documented: &str, option: &str) -> bool {
    let is_number = documented.contains(" to ") && documented.starts_with(|c: char| c.is_ascii_digit());
    let expected = match documented {
        "true or false" | "boolean" => "boolean",
        "table" => "submodule",
        list if list.contains("patterns") || list.starts_with("list of") => "list of",
        _ if is_number => "integer",
        _ => "",
    };
    let untyped = ["anything", "TOML value"].iter().any(|any| option.contains(any));
    option.contains(expected) && !untyped
}

#[test]
fn the_options_of_each_kind_of_source_are_its_documented_keys() {
    skip_unless!(Tool::Nix);
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let options = of_sources();
    for kind in KINDS {
        let documented = keys_of(kind, &text);
        let of_kind: BTreeMap<_, _> = options.iter().filter(|(_, option)| is_for(option, kind)).collect();
        let names: BTreeSet<_> = of_kind.keys().copied().collect();
        assert_eq!(names, documented.keys().collect(), "{kind}");
        for (key, option) in of_kind {
            let (document, module) = (&documented[key], &option.kind);
            assert!(
                fits(document, module),
                "{kind}: {key} is \"{document}\", and its option is \"{module}\""
            );
        }
    }
}
