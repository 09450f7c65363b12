//! The page of the NixOS module's options is what the module declares, and the module has an option for every key of a
//! source. Nothing but Nix itself is needed: nix/docs/lib.nix stands in for nixpkgs' library.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;
use testkit::{Tool, skip_unless};

use super::nix::{nixpkgs, root};

const PAGE: &str = "docs/nixos-options.md";

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).unwrap()
}

/// The command that the page names for writing it anew.
fn command() -> String {
    let page = page();
    page.lines().find_map(|line| line.strip_prefix("$ ")).unwrap().to_owned()
}

/// What a command line with Nix prints, run in the project's directory.
fn run(line: &str) -> String {
    let state = tempfile::tempdir().unwrap();
    let nix = Tool::Nix.path().unwrap();
    let path = format!("{}:{}", nix.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(root())
        .env("PATH", path)
        .env("NIX_STATE_DIR", state.path())
        .env("NIX_STORE_DIR", state.path().join("store"))
        .env("HOME", state.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All options of the module, by name.
fn options() -> BTreeMap<String, Value> {
    let text = run("nix-instantiate --eval --strict --json nix/docs/options.nix -A options");
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    list.into_iter().map(|option| (option["name"].as_str().unwrap().to_owned(), option)).collect()
}

/// The first line in which two pages differ.
fn difference(written: &str, made: &str) -> String {
    let lines = written.lines().map(Some).chain(std::iter::repeat(None));
    let pairs = lines.zip(made.lines().map(Some).chain([None])).enumerate();
    let mut different = pairs.filter(|(_, (old, new))| old != new);
    different.next().map_or_else(String::new, |(index, (old, new))| {
        format!("line {}: {:?} in place of {:?}", index + 1, old.unwrap_or_default(), new.unwrap_or_default())
    })
}

#[test]
fn the_page_of_options_is_what_the_module_declares() {
    skip_unless!(Tool::Nix);
    let command = command();
    let (print, target) = command.split_once(" > ").unwrap();
    assert_eq!(target, PAGE);
    let (written, made) = (page(), run(print));
    let difference = difference(&written, &made);
    assert!(written == made, "{PAGE} is out of date ({difference}). Write it anew:\n{command}");
}

#[test]
fn the_page_of_options_is_the_same_with_the_library_of_nixpkgs() {
    skip_unless!(Tool::Nix);
    let Some(nixpkgs) = nixpkgs() else { return };
    let command = command();
    let (print, _) = command.split_once(" > ").unwrap();
    let made = run(&format!("{print} --arg lib 'import ({nixpkgs} + \"/lib\")'"));
    let difference = difference(&page(), &made);
    assert!(page() == made, "nix/docs/lib.nix differs from nixpkgs' library: {difference}");
}

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The anchors of a document. Headings with the same text get a number, which no link should depend on.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with('#')) {
        let anchor = anchor(line.trim_start_matches('#').trim());
        if !anchors.insert(anchor.clone()) {
            twice.insert(anchor);
        }
    }
    &anchors - &twice
}

#[test]
fn every_link_of_the_page_of_options_leads_somewhere() {
    let page = page();
    let mut links = 0;
    for link in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let text = match file {
            "" => page.clone(),
            file => fs::read_to_string(root().join("docs").join(file))
                .unwrap_or_else(|error| panic!("{link}: {error}")),
        };
        assert!(anchor.is_empty() || anchors(&text).contains(anchor), "{link}: there is no such heading");
        links += 1;
    }
    let options = page.lines().filter(|line| line.starts_with("### ")).count();
    assert!(options > 60 && links > options, "{options} options, {links} links");
}

#[test]
fn every_option_is_described_by_sentences() {
    skip_unless!(Tool::Nix);
    for (name, option) in options() {
        let text = option["description"].as_str().unwrap().trim();
        assert!(text.starts_with(|c: char| c.is_uppercase() || c == '`'), "{name}: {text}");
        assert!(text.ends_with(['.', '`', ')', '|']) && text.len() > 15, "{name}: {text}");
    }
}

fn camel_case(key: &str) -> String {
    let mut parts = key.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (initial, rest) = part.split_at(1);
        name + &initial.to_uppercase() + rest
    })
}

/// The keys of sources with their types, from the tables of docs/configuration.md.
fn keys_of_sources() -> BTreeSet<(String, String)> {
    let document = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let sources = document.split("\n## `[sources.NAME]`").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut keys = BTreeSet::new();
    for line in sources.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let (names, kind) = (cells.next().unwrap(), cells.next().unwrap());
        keys.extend(names.split(", ").map(|name| (name.trim_matches('`').to_owned(), kind.to_owned())));
    }
    keys
}

#[test]
fn every_key_of_a_source_has_an_option_of_its_type() {
    skip_unless!(Tool::Nix);
    let options = options();
    let keys = keys_of_sources();
    assert!(keys.len() > 40, "{keys:?}");
    let mut wrong = Vec::new();
    for (key, kind) in keys {
        let name = format!("sources.<name>.{}", camel_case(&key));
        let Some(option) = options.get(&name) else {
            wrong.push(format!("{key}: there is no option {name}"));
            continue;
        };
        let expected = match kind.as_str() {
            "true or false" => "boolean",
            list if list.contains("patterns") || list.starts_with("list of") => "list of",
            number if number.contains(" to ") && number.starts_with(|c: char| c.is_ascii_digit()) => {
                "integer"
            }
            "table" => "submodule",
            _ => "",
        };
        let found = option["type"].as_str().unwrap();
        let untyped = ["anything", "TOML value"].iter().any(|any| found.contains(any));
        if untyped || !found.contains(expected) {
            wrong.push(format!("{name} is \"{found}\", and {key} is \"{kind}\""));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
