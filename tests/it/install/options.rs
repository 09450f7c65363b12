//! The page of the NixOS module's options is what the module declares. Nothing but Nix itself is needed: nix/docs/lib.nix
//! stands in for nixpkgs' library.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;
use testkit::{Tool, skip_unless};

use super::{
    evaluation::{evaluate, shell},
    nix::{nixpkgs, root},
};

const PAGE: &str = "docs/nixos-options.md";

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).unwrap()
}

/// The command for writing the page again, as the page shows it.
fn command() -> String {
    let page = page();
    page.lines().find_map(|line| line.strip_prefix("$ ")).unwrap().to_owned()
}

/// An option of the module.
pub struct Declared {
    /// Its description.
    pub description: String,
    /// Its type, in words.
    pub kind: String,
    /// Its example, as Nix.
    pub example: Option<String>,
    /// The kinds of source that it is for; none if it is for all, or not of a source.
    pub kinds: Vec<String>,
}

/// All options of the module, by name.
pub fn options() -> BTreeMap<String, Declared> {
    let list = evaluate(&["nix/docs/options.nix", "-A", "options"], None).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let declared = |option: &Value| {
        let declared = Declared {
            description: text(&option["description"]).unwrap(),
            kind: text(&option["type"]).unwrap(),
            example: text(&option["example"]),
            kinds: option["kinds"].as_array().unwrap().iter().filter_map(text).collect(),
        };
        (text(&option["name"]).unwrap(), declared)
    };
    list.as_array().unwrap().iter().map(declared).collect()
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
    let (written, made) = (page(), shell(print));
    let difference = difference(&written, &made);
    assert!(written == made, "{PAGE} is out of date ({difference}). Write it anew:\n{command}");
}

#[test]
fn the_page_of_options_is_the_same_with_the_library_of_nixpkgs() {
    skip_unless!(Tool::Nix);
    let Some(nixpkgs) = nixpkgs() else { return };
    let command = command();
    let (print, _) = command.split_once(" > ").unwrap();
    let made = shell(&format!("{print} --arg lib 'import ({nixpkgs} + \"/lib\")'"));
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
        let text = option.description.trim();
        assert!(text.starts_with(|c: char| c.is_uppercase() || c == '`'), "{name}: {text}");
        assert!(text.ends_with(['.', '`', ')', '|']) && text.len() > 15, "{name}: {text}");
    }
}
