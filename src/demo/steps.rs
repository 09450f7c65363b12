//! The steps of the demo.

use std::path::PathBuf;

use super::{
    Environment, Options, Runner, Step,
    data::{FORUM, NEWSLETTER, ODD, ODD_TABLES, SERVER, SHOP, SHOP_QUERY},
    environment::{find_restic, shell_word},
    mysql::WIKI_QUERY,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Runs all steps. Returns the directory, if it is kept.
pub(super) fn run(options: &Options, runner: &mut Runner<'_>, cancel: &Cancel) -> Result<Option<PathBuf>> {
    let env = runner.step("Servers for this demo alone", |step| start(options, step, cancel))?;
    runner.step("Create the repository, and see what a backup would protect", |step| {
        step.ran(env.program(&["init"])?);
        let found = step.ran(env.program(&["discover"])?);
        step.explain(
            "No database is named in the configuration: every run asks the servers which databases exist.",
        );
        require(&found, &["main/@globals", "main/shop", "main/forum", ODD], "discover")
    })?;
    runner.step("Back up", |step| {
        step.ran(env.program(&["backup"])?);
        let stored = step.ran(env.program(&["snapshots"])?);
        require(&stored, &["main/@globals", "main/shop", "main/forum", ODD], "snapshots")
    })?;
    runner.step("A new database is created, and the configuration is not changed", |step| {
        step.ran(env.psql("postgres", "CREATE DATABASE newsletter")?);
        env.script("newsletter", NEWSLETTER)?;
        let done = step.ran(env.program(&["backup"])?);
        step.explain(
            "The new database was backed up automatically. Of the others only changed data was added.",
        );
        require(&done, &["main/newsletter: ok"], "backup")
    })?;
    runner.step("Can it be restored? That is proven before it is needed", |step| prove(&env, step))?;
    lose_and_restore(&env, runner)?;
    runner.step("The same for MariaDB or MySQL: the wiki is dropped, and comes back", |step| {
        wiki(&env, step)
    })?;
    runner
        .step("The same for MongoDB: the library is dropped, and comes back", |step| library(&env, step))?;
    runner.step("Is every byte in the repository still what was written?", |step| {
        step.ran(env.program(&["check", "--read-data"])?);
        Ok(())
    })?;
    runner.step("Does stock restic agree?", |step| witness(&env, step))?;
    runner.step("The end", |step| {
        let folder = env.stop(options.keep)?;
        match &folder {
            Some(folder) => step.explain(&format!(
                "The servers are stopped. Kept: {} (their data directories, config.toml, the repository and its password).\n\
                 Remove it with: rm -r {}",
                folder.display(),
                shell_word(&folder.to_string_lossy())
            )),
            None => step.explain("The servers are stopped and their directory is removed. (--keep keeps it.)"),
        }
        Ok(folder)
    })
}

/// Starts and fills the server.
fn start(options: &Options, step: &mut Step<'_>, cancel: &Cancel) -> Result<Environment> {
    let env = Environment::start(options.dir.as_deref(), cancel)?;
    step.explain(&format!(
        "PostgreSQL {} on a socket in {}, removed at the end",
        env.server_version(),
        env.folder().display()
    ));
    match env.mysql() {
        Some(server) => step.explain(&format!("{} beside it, with the database wiki", server.version())),
        None => step.explain("(no MariaDB or MySQL server is installed: its steps are skipped)"),
    }
    match env.mongodb() {
        Some(server) => {
            step.explain(&format!("a MongoDB server {}, with the database library", server.version()))
        }
        None => step.explain("(no MongoDB server is installed: its steps are skipped)"),
    }
    for (database, sql) in [("postgres", SERVER), ("shop", SHOP), ("forum", FORUM), (ODD, ODD_TABLES)] {
        env.script(database, sql)?;
    }
    step.explain(&format!(
        "It has the databases shop, forum, {ODD} and scratch_test, with roles and grants.\n\n\
         This is {}:\n",
        env.config_file().display()
    ));
    step.explain(&indented(&env.config()));
    step.explain("With these variables set, every command below can be typed as shown:\n");
    let exports: Vec<String> = env
        .variables()
        .iter()
        .map(|(name, value)| format!("export {name}={}", shell_word(&value.to_string_lossy())))
        .collect();
    step.explain(&indented(&exports.join("\n")));
    Ok(env)
}

fn prove(env: &Environment, step: &mut Step<'_>) -> Result<()> {
    let done = step.ran(env.program(&["drill"])?);
    step.explain(
        "Each snapshot was restored into a server of its own, roles first. Its content was read back and compared with what was\n\
         recorded during the backup: rows, definitions, grants, sequences, accounts.",
    );
    require(&done, &["main/shop: proven", "main/@globals: proven", "main/newsletter: proven"], "drill")?;
    let status = step.ran(env.program(&["status"])?);
    require(&status, &["Restoring all of it takes about"], "status")
}

fn lose_and_restore(env: &Environment, runner: &mut Runner<'_>) -> Result<()> {
    let before = runner.step("An accident: the shop is dropped", |step| {
        let before = step.ran(env.psql("shop", SHOP_QUERY)?);
        step.ran(env.psql("postgres", "DROP DATABASE shop")?);
        Ok(before)
    })?;
    runner.step("The next backup notices it and sends an alert", |step| {
        let done = step.ran(env.program(&["backup"])?);
        require(&done, &["main/shop: VANISHED"], "backup")?;
        let alerts = env.alerts().join("\n");
        step.explain("This arrived at the webhook that the configuration names:\n");
        step.explain(&indented(&alerts));
        require(&alerts, &["main/shop"], "the alert")
    })?;
    runner.step("Restore it under a new name", |step| {
        step.ran(env.program(&["restore", "main/shop", "--into", "shop_restored"])?);
        let after = step.ran(env.psql("shop_restored", SHOP_QUERY)?);
        if after != before {
            return Err(Error::failed("the restored shop is not the one that was dropped")
                .because_text(format!("before:\n{before}\nafter:\n{after}")));
        }
        step.explain("The same answer as before the accident. Owner and grants are back too:");
        let granted = step.ran(env.psql("shop_restored", "\\dp orders")?);
        require(&granted, &["reporting=r/shop_owner"], "\\dp orders")
    })
}

fn wiki(env: &Environment, step: &mut Step<'_>) -> Result<()> {
    let Some(server) = env.mysql() else {
        step.skip("no MariaDB or MySQL server is installed (Debian: mariadb-server)");
        return Ok(());
    };
    let before = step.ran(server.query(env, "wiki", WIKI_QUERY)?);
    step.ran(server.query(env, "wiki", "DROP DATABASE wiki")?);
    step.ran(env.program(&["restore", "wiki-server/wiki", "--into", "wiki"])?);
    let after = step.ran(server.query(env, "wiki", WIKI_QUERY)?);
    if after == before {
        return Ok(());
    }
    Err(Error::failed("the restored wiki is not the one that was dropped")
        .because_text(format!("before:\n{before}\nafter:\n{after}")))
}

fn library(env: &Environment, step: &mut Step<'_>) -> Result<()> {
    let Some(server) = env.mongodb() else {
        step.skip("no MongoDB server is installed");
        return Ok(());
    };
    let before = server.content()?;
    server.lose()?;
    step.ran(server.restore(env)?);
    let after = server.content()?;
    step.explain(&format!("Before it was dropped: {before}\nRestored:              {after}"));
    if after == before && !before.is_empty() {
        return Ok(());
    }
    Err(Error::failed("the restored library is not the one that was dropped")
        .because_text(format!("before: {before}, after: {after}")))
}

fn witness(env: &Environment, step: &mut Step<'_>) -> Result<()> {
    let Some(restic) = find_restic() else {
        step.skip(
            "restic is not installed (not in $PATH); with it, `restic check --read-data` is shown here",
        );
        return Ok(());
    };
    step.ran(env.restic(&restic, &["version"])?);
    step.ran(env.restic(&restic, &["snapshots"])?);
    step.ran(env.restic(&restic, &["check", "--read-data"])?);
    Ok(())
}

/// Fails unless the output of a command has all these texts, so that the demo does not claim false results.
fn require(output: &str, texts: &[&str], command: &str) -> Result<()> {
    match texts.iter().find(|text| !output.contains(**text)) {
        None => Ok(()),
        Some(missing) => {
            Err(Error::failed(format!("`{missing}` is not in what `{command}` printed")).because_text(output))
        }
    }
}

fn indented(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_printed_is_not_claimed() {
        assert!(require("main/shop: ok", &["main/shop"], "backup").is_ok());
        let error = require("nothing", &["main/shop"], "backup").err().map(|error| error.summary());
        assert!(error.is_some_and(|text| text.contains("main/shop") && text.contains("nothing")));
    }
}
