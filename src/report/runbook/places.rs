//! Locations in the runbook: the repository, its password and the programs, and access to them without the host.

use std::collections::BTreeSet;

use super::{Known, Page, cell};
use crate::{
    config::Config,
    output::shell::{unless_set, word},
    settings::{RepositoryLocation, SecretFile},
};

/// How the repository is named for restic.
enum Address {
    /// A location as restic writes it.
    Restic(String),
    /// A file that holds the location.
    File(String),
    /// A location that only this program understands.
    Unknown(String),
}

fn address(config: &Config) -> Address {
    let repository = &config.repository;
    match &repository.location {
        RepositoryLocation::File { file, .. } => Address::File(place(file)),
        RepositoryLocation::Given(text) => {
            let scheme =
                text.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains('/'));
            match scheme {
                None | Some("rest" | "rclone" | "local") => Address::Restic(text.clone()),
                Some("opendal") if text.starts_with("opendal:s3") => match repository.options.get("bucket") {
                    Some(bucket) => {
                        let endpoint =
                            repository.options.get("endpoint").map_or("s3.amazonaws.com", String::as_str);
                        let root =
                            repository.options.get("root").map_or("", String::as_str).trim_matches('/');
                        Address::Restic(
                            format!("s3:{endpoint}/{bucket}/{root}").trim_end_matches('/').to_owned(),
                        )
                    }
                    None => Address::Unknown(text.clone()),
                },
                Some("sftp") if !text.contains("//") => Address::Restic(text.clone()),
                Some(_) => Address::Unknown(text.clone()),
            }
        }
    }
}

fn place(file: &SecretFile) -> String {
    file.path().map_or_else(|| "/root/repository-password".to_owned(), |path| path.display().to_string())
}

pub(super) fn prerequisites(page: &mut Page, config: &Config, known: &Known) {
    let repository = &config.repository;
    page.line("## What you need");
    page.line("");
    let location = match address(config) {
        Address::Restic(text) | Address::Unknown(text) => format!("`{text}`"),
        Address::File(path) => format!("the URL in the file `{path}`"),
    };
    let mut rows = vec![vec!["the repository".to_owned(), location]];
    if let Some(mount) = &repository.mount {
        rows.push(vec!["the storage".to_owned(), format!("mounted at `{}`", mount.display())]);
    }
    if let Some(storage) = &config.runbook.storage {
        rows.push(vec!["the storage without the host".to_owned(), cell(storage)]);
    }
    rows.push(vec!["the password, on the host".to_owned(), format!("`{}`", repository.password_file)]);
    let escrow = config.runbook.escrow.as_deref().map_or_else(
        || "**not written down**: add `runbook.escrow` to the configuration. Without the password, all backups are lost".to_owned(),
        cell,
    );
    rows.push(vec!["the password, in escrow".to_owned(), escrow]);
    rows.push(vec!["the host in the snapshots".to_owned(), format!("`{}`", repository.host)]);
    if known.at.is_some() {
        rows.push(vec!["the configuration".to_owned(), format!("`{}`", config.path.display())]);
    }
    page.table(&["what", "where"], rows.into_iter());
    page.line("Programs, on any Linux; on Debian:");
    page.line("");
    page.code("console", &[format!("# apt-get install {}", packages(config).join(" "))]);
    page.line(
        "restic 0.14 or newer. Clients of databases: of the version of the server that was lost, or newer. Room: a database takes \
         about as much as its size in the table below, and its indexes.",
    );
    page.line("");
}

fn packages(config: &Config) -> Vec<&'static str> {
    let mut packages = BTreeSet::from(["restic"]);
    for source in &config.sources {
        packages.extend(source.kind.kind().packages());
    }
    packages.into_iter().collect()
}

pub(super) fn worst_day(page: &mut Page, config: &Config) {
    page.line("## The worst day: the host is lost");
    page.line("");
    page.line("What is left is the storage and the password from the escrow. On any Linux machine, as root:");
    page.line("");
    let mut lines = vec![
        "# 1. The programs: see above. New files must be readable by root alone.".to_owned(),
        "umask 077".to_owned(),
    ];
    if let Some(mount) = &config.repository.mount {
        let mount = word(&mount.display().to_string());
        lines.push(format!("# 2. The storage, read-only: it is the only copy. {}", hint_of_storage(config)));
        lines.push(format!("mkdir -p {mount}"));
        lines.push(format!(
            "mount -t cifs -o ro,username=ACCOUNT //STORAGE/SHARE {mount}        # asks for the password"
        ));
        lines.push(format!(
            "sshfs -o ro ACCOUNT@STORAGE:DIRECTORY {mount}                        # for example"
        ));
    }
    // Without a mount there is no second step.
    let step = if config.repository.mount.is_some() { 3 } else { 2 };
    lines.push(format!(
        "# {step}. The password, from the escrow, into a file that only root can read: type it, then Enter and Ctrl-D."
    ));
    lines.push("cat > /root/repository-password".to_owned());
    lines.push("export RESTIC_PASSWORD_FILE=/root/repository-password".to_owned());
    match address(config) {
        Address::Restic(text) => lines.push(format!("export RESTIC_REPOSITORY={}", word(&text))),
        Address::File(path) => lines.push(format!("export RESTIC_REPOSITORY_FILE={}      # write the URL into it first", word(&path))),
        Address::Unknown(text) => lines.push(format!(
            "export RESTIC_REPOSITORY=…      # restic's own name for what is {text} here: `man restic`, \"Preparing a new repository\""
        )),
    }
    lines.push("restic --no-lock snapshots                      # lists everything there is".to_owned());
    lines.push("restic --no-lock check                          # is the structure whole?".to_owned());
    if config.repository.mount.is_some() {
        lines.push("alias restic='restic --no-lock'                 # for all that follows: the storage is read-only".to_owned());
    }
    page.code("console", &lines);
    page.line(
        "From here on, continue as for a single source: *Preparation*, then each source in order. Use the same shell: it has the \
         variables for the repository and the password.",
    );
    page.line("");
    page.line(
        "To have this program back: install it, restore the configuration (a printed copy belongs to this runbook) with the same \
         names of sources and the same `host`, put the password into the file that it names, and `tik-backup status` shows what is stored.",
    );
    page.line("");
}

fn hint_of_storage(config: &Config) -> &'static str {
    if config.runbook.storage.is_some() { "Its name and account: see \"What you need\"." } else { "" }
}

pub(super) fn preparation(page: &mut Page, config: &Config) {
    page.line("## Preparation");
    page.line("");
    page.line("Once for each shell, as a user who may read the repository. All blocks below are for `bash`.");
    page.line("");
    let mut lines = environment(config);
    lines.push(
        "# A directory for unencrypted files: with room for the largest item, readable only by its owner."
            .to_owned(),
    );
    lines.push(unless_set("SCRATCH", "/var/tmp/recovery"));
    lines.push("mkdir -p \"$SCRATCH\"".to_owned());
    lines.push(
        "restic cat config >/dev/null && echo 'the repository is there, and the password opens it'"
            .to_owned(),
    );
    page.code("sh", &lines);
}

/// Environment variables for restic: location and password of the repository.
pub(super) fn environment(config: &Config) -> Vec<String> {
    let mut lines = vec!["umask 077".to_owned(), "set -o pipefail".to_owned()];
    match address(config) {
        Address::Restic(text) => lines.push(unless_set("RESTIC_REPOSITORY", &text)),
        Address::File(path) => lines.push(unless_set("RESTIC_REPOSITORY_FILE", &path)),
        Address::Unknown(text) => {
            lines
                .push(format!(": \"${{RESTIC_REPOSITORY:?set it to the name that restic has for {text}}}\""));
        }
    }
    lines.push(unless_set("RESTIC_PASSWORD_FILE", &place(&config.repository.password_file)));
    lines
}
