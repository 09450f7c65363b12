//! What the configuration accepts and what it makes of it, every message about what it does not, and the files.
#![allow(clippy::unwrap_used)]

mod accepted;
mod alerts;
mod channels;
mod files;
mod mistakes;
mod refused;
mod refused_kinds;

use super::*;
use crate::{
    error::Kind,
    settings::{RepositoryLocation, SandboxRule, SecretFile, SourceName},
};

const REPOSITORY: &str = "[repository]\nlocation = \"/r\"\npassword_file = \"/pw\"\n";

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("/etc/tik/c.toml"))
}

/// A configuration with a sound repository in lines 1 to 3; `rest` starts in line 4.
fn with(rest: &str) -> Result<Config> {
    parse(&format!("{REPOSITORY}{rest}"))
}

/// A PostgreSQL source: its header stands in line 4, its kind in line 5, `keys` start in line 6.
fn source(keys: &str) -> Result<Config> {
    with(&format!("[sources.pg]\nkind = \"postgres\"\n{keys}"))
}

/// The problems, without the file's name: `LINE: KEY: what`.
fn problems(config: Result<Config>) -> Vec<String> {
    let error = config.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    let text = error.to_string();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let lines: Vec<_> = if rest.is_empty() { vec![first] } else { rest.lines().collect() };
    if lines.len() > 1 {
        assert_eq!(first, format!("{} problems in the configuration", lines.len()));
    }
    lines
        .iter()
        .map(|line| {
            line.strip_prefix("/etc/tik/c.toml:").unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        })
        .collect()
}

#[track_caller]
fn one_problem(config: Result<Config>, expected: &str) {
    assert_eq!(problems(config), [expected]);
}
