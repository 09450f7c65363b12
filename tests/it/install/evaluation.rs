//! Runs Nix with a state and a home of its own. Nothing is built.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use testkit::{Tool, project};

/// The output of a command that uses Nix, run in the project's directory, or its error. Evaluated paths are
/// below `store`, by default a directory that does not exist.
pub fn run(command: &mut Command, store: Option<&Path>) -> Result<String, String> {
    let state = tempfile::tempdir().unwrap();
    let nix = Tool::Nix.path().unwrap();
    let path = format!("{}:{}", nix.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let store = store.map_or_else(|| state.path().join("store"), PathBuf::from);
    command.current_dir(project()).env("PATH", path).env("HOME", state.path());
    command.env("NIX_STATE_DIR", state.path()).env("NIX_STORE_DIR", store);
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The same of a command line, which must succeed.
#[track_caller]
pub fn shell(line: &str) -> String {
    run(Command::new("sh").args(["-c", line]), None).unwrap_or_else(|error| panic!("{line}\n{error}"))
}

/// `nix-instantiate` with arguments that evaluate something to JSON.
pub fn evaluate(arguments: &[&str], store: Option<&Path>) -> Result<Value, String> {
    let mut command = Command::new(Tool::Nix.path().unwrap());
    let text = run(command.args(["--eval", "--strict", "--json"]).args(arguments), store)?;
    Ok(serde_json::from_str(&text).unwrap())
}

/// The value of an expression, which must evaluate.
#[track_caller]
pub fn value(expression: &str) -> Value {
    evaluate(&["--expr", expression], None).unwrap_or_else(|error| panic!("{expression}\n{error}"))
}
