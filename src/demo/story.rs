//! The steps of the demo.

use std::path::PathBuf;

use super::{
    Options, Stage, Step, Teller,
    data::{FORUM, NEWSLETTER, ODD, ODD_TABLES, SERVER, SHOP, SHOP_QUERY},
    mysql::WIKI_QUERY,
    stage::{find_restic, shell_word},
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Runs all steps. Returns the directory, if it is kept.
pub(super) fn tell(options: &Options, teller: &mut Teller<'_>, cancel: &Cancel) -> Result<Option<PathBuf>> {
    let stage = teller.step("Servers for this demo alone", |step| set(options, step, cancel))?;
    teller.step("Create the repository, and see what a backup would protect", |step| {
        step.ran(stage.program(&["init"])?);
        let found = step.ran(stage.program(&["discover"])?);
        step.tell(
            "No database is named in the configuration: every run asks the servers which databases exist.",
        );
        require(&found, &["main/@globals", "main/shop", "main/forum", ODD], "discover")
    })?;
    teller.step("Back up", |step| {
        step.ran(stage.program(&["backup"])?);
        let stored = step.ran(stage.program(&["snapshots"])?);
        require(&stored, &["main/@globals", "main/shop", "main/forum", ODD], "snapshots")
    })?;
    teller.step("A new database is created, and the configuration is not changed", |step| {
        step.ran(stage.psql("postgres", "CREATE DATABASE newsletter")?);
        stage.script("newsletter", NEWSLETTER)?;
        let done = step.ran(stage.program(&["backup"])?);
        step.tell("The new database was backed up automatically. Of the others only changed data was added.");
        require(&done, &["main/newsletter: ok"], "backup")
    })?;
    teller.step("Can it be restored? That is proven before it is needed", |step| prove(&stage, step))?;
    lose_and_restore(&stage, teller)?;
    teller.step("The same for MariaDB or MySQL: the wiki is dropped, and comes back", |step| {
        wiki(&stage, step)
    })?;
    teller
        .step("The same for MongoDB: the library is dropped, and comes back", |step| library(&stage, step))?;
    teller.step("Is every byte in the repository still what was written?", |step| {
        step.ran(stage.program(&["check", "--read-data"])?);
        Ok(())
    })?;
    teller.step("Does stock restic agree?", |step| witness(&stage, step))?;
    teller.step("The end", |step| {
        let folder = stage.strike(options.keep)?;
        match &folder {
            Some(folder) => step.tell(&format!(
                "The servers are stopped. Kept: {} (their data directories, config.toml, the repository and its password).\n\
                 Remove it with: rm -r {}",
                folder.display(),
                shell_word(&folder.to_string_lossy())
            )),
            None => step.tell("The servers are stopped and their directory is removed. (--keep keeps it.)"),
        }
        Ok(folder)
    })
}

/// Starts and fills the server.
fn set(options: &Options, step: &mut Step<'_>, cancel: &Cancel) -> Result<Stage> {
    let stage = Stage::set(options.dir.as_deref(), cancel)?;
    step.tell(&format!(
        "PostgreSQL {} on a socket in {}, removed at the end",
        stage.server_version(),
        stage.folder().display()
    ));
    match stage.mysql() {
        Some(server) => step.tell(&format!("{} beside it, with the database wiki", server.version())),
        None => step.tell("(no MariaDB or MySQL server is installed: its steps are skipped)"),
    }
    match stage.mongodb() {
        Some(server) => {
            step.tell(&format!("a MongoDB server {}, with the database library", server.version()))
        }
        None => step.tell("(no MongoDB server is installed: its steps are skipped)"),
    }
    for (database, sql) in [("postgres", SERVER), ("shop", SHOP), ("forum", FORUM), (ODD, ODD_TABLES)] {
        stage.script(database, sql)?;
    }
    step.tell(&format!(
        "It has the databases shop, forum, {ODD} and scratch_test, with roles and grants.\n\n\
         This is {}:\n",
        stage.config_file().display()
    ));
    step.tell(&indented(&stage.config()));
    step.tell("With these variables set, every command below can be typed as shown:\n");
    let exports: Vec<String> = stage
        .variables()
        .iter()
        .map(|(name, value)| format!("export {name}={}", shell_word(&value.to_string_lossy())))
        .collect();
    step.tell(&indented(&exports.join("\n")));
    Ok(stage)
}

fn prove(stage: &Stage, step: &mut Step<'_>) -> Result<()> {
    let done = step.ran(stage.program(&["drill"])?);
    step.tell(
        "Each snapshot was restored into a server started for it, roles first, and that was read back and compared with\n\
         what passed by when the backup was made: rows, definitions, grants, sequences, accounts.",
    );
    require(&done, &["main/shop: proven", "main/@globals: proven", "main/newsletter: proven"], "drill")?;
    let status = step.ran(stage.program(&["status"])?);
    require(&status, &["Restoring all of it takes about"], "status")
}

fn lose_and_restore(stage: &Stage, teller: &mut Teller<'_>) -> Result<()> {
    let before = teller.step("An accident: the shop is dropped", |step| {
        let before = step.ran(stage.psql("shop", SHOP_QUERY)?);
        step.ran(stage.psql("postgres", "DROP DATABASE shop")?);
        Ok(before)
    })?;
    teller.step("The next backup notices it and sends an alert", |step| {
        let done = step.ran(stage.program(&["backup"])?);
        require(&done, &["main/shop: VANISHED"], "backup")?;
        let alerts = stage.alerts().join("\n");
        step.tell("This arrived at the webhook that the configuration names:\n");
        step.tell(&indented(&alerts));
        require(&alerts, &["main/shop"], "the alert")
    })?;
    teller.step("Restore it under a new name", |step| {
        step.ran(stage.program(&["restore", "main/shop", "--into", "shop_restored"])?);
        let after = step.ran(stage.psql("shop_restored", SHOP_QUERY)?);
        if after != before {
            return Err(Error::failed("the restored shop is not the one that was dropped")
                .because_text(format!("before:\n{before}\nafter:\n{after}")));
        }
        step.tell("The same answer as before the accident. Owner and grants are back too:");
        let granted = step.ran(stage.psql("shop_restored", "\\dp orders")?);
        require(&granted, &["reporting=r/shop_owner"], "\\dp orders")
    })
}

fn wiki(stage: &Stage, step: &mut Step<'_>) -> Result<()> {
    let Some(server) = stage.mysql() else {
        step.skip("no MariaDB or MySQL server is installed (Debian: mariadb-server)");
        return Ok(());
    };
    let before = step.ran(server.query(stage, "wiki", WIKI_QUERY)?);
    step.ran(server.query(stage, "wiki", "DROP DATABASE wiki")?);
    step.ran(stage.program(&["restore", "wiki-server/wiki", "--into", "wiki"])?);
    let after = step.ran(server.query(stage, "wiki", WIKI_QUERY)?);
    if after == before {
        return Ok(());
    }
    Err(Error::failed("the restored wiki is not the one that was dropped")
        .because_text(format!("before:\n{before}\nafter:\n{after}")))
}

fn library(stage: &Stage, step: &mut Step<'_>) -> Result<()> {
    let Some(server) = stage.mongodb() else {
        step.skip("no MongoDB server is installed");
        return Ok(());
    };
    let before = server.content()?;
    server.lose()?;
    step.ran(server.restore(stage)?);
    let after = server.content()?;
    step.tell(&format!("Before it was dropped: {before}\nRestored:              {after}"));
    if after == before && !before.is_empty() {
        return Ok(());
    }
    Err(Error::failed("the restored library is not the one that was dropped")
        .because_text(format!("before: {before}, after: {after}")))
}

fn witness(stage: &Stage, step: &mut Step<'_>) -> Result<()> {
    let Some(restic) = find_restic() else {
        step.skip(
            "restic is not installed (not in $PATH); with it, `restic check --read-data` is shown here",
        );
        return Ok(());
    };
    step.ran(stage.restic(&restic, &["version"])?);
    step.ran(stage.restic(&restic, &["snapshots"])?);
    step.ran(stage.restic(&restic, &["check", "--read-data"])?);
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
