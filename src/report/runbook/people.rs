//! First steps, contacts and exercises.

use super::{Known, Page, cell};
use crate::{config::Config, output::time};

pub(super) fn opening(page: &mut Page, config: &Config, known: &Known) {
    let whose =
        config.runbook.organisation.as_deref().map(|name| format!(": {}", cell(name))).unwrap_or_default();
    page.line(&format!("# Recovery runbook{whose}"));
    page.line("");
    let written = match &known.at {
        Some(at) => format!("on {} ", time(at)),
        None => String::new(),
    };
    page.line(&format!(
        "Written {written}by `tik-backup runbook` from the configuration of the host {}. Generate it again after every change, print it, and keep a copy where neither the host nor the storage is needed to read it.",
        cell(&config.repository.host)
    ));
    page.line("");
    page.line("## First");
    page.line("");
    for (number, step) in (1..).zip([
        "**Change nothing yet.** Delete nothing, prune nothing, create no repository. What is stored stays stored.",
        "Call the first of the contacts. Two people make fewer mistakes than one.",
        "Write down the time, and every command from here on.",
        "Stop what would overwrite: `systemctl stop tik-backup.target` on the host, if it still runs.",
        "Find out what is lost: one item (go to its section below), a server (its source), or the host itself (*The worst day*).",
        "Restore **beside** what is there whenever there is room: a second name, another server, a new directory.",
        "Count, compare, let a user check the data; only then start the services.",
    ]) {
        page.line(&format!("{number}. {step}"));
    }
    page.line("");
}

pub(super) fn contacts(page: &mut Page, config: &Config) {
    page.line("## Contacts");
    page.line("");
    if config.runbook.contacts.is_empty() {
        page.line("**No contacts are configured.** Add `[[runbook.contacts]]` to the configuration.");
        page.line("");
        return;
    }
    let rows = config.runbook.contacts.iter().map(|contact| {
        let reach: Vec<_> = contact.reach.iter().map(|one| cell(one)).collect();
        vec![cell(&contact.name), cell(contact.role.as_deref().unwrap_or("")), reach.join(", ")]
    });
    page.table(&["who", "for what", "how"], rows);
}

pub(super) fn afterwards(page: &mut Page, config: &Config) {
    page.line("## Afterwards");
    page.line("");
    for step in [
        "Remove the unencrypted files that the restore left in directories.".to_owned(),
        format!(
            "Back up again, from a host whose `repository.host` is {:?} as before: under another name the old snapshots \
             no longer belong to this host.",
            config.repository.host
        ),
        "`tik-backup drill --all`, so that the new backups are proven again.".to_owned(),
        "Change passwords and keys that others may have seen.".to_owned(),
        "Write down how long it took and what was missing here, and write this runbook anew.".to_owned(),
    ] {
        page.line(&format!("- {step}"));
    }
    page.line("");
}

pub(super) fn exercises(page: &mut Page) {
    page.line("## Exercises");
    page.line("");
    page.line("**Every month**, half an hour, by the person who did it least recently:");
    page.line("");
    for step in [
        "`tik-backup status`: everything covered, nothing late, every proof younger than the limit.",
        "`tik-backup alert test`: a message arrives through every channel, and reaches people who still belong to the team.",
        "Take an item from the table at random, and restore it by its section above, without `tik-backup`. Count. Write down the time.",
        "Compare the printed copy of this runbook with `tik-backup runbook`.",
    ] {
        page.line(&format!("- [ ] {step}"));
    }
    page.line("");
    page.line("**Every quarter**, half a day, with one person who has never done it:");
    page.line("");
    for step in [
        "The worst day, on a machine that has nothing of this installation: with the printed runbook, the escrowed password and the storage alone.",
        "The password comes from the escrow, not from the host: `restic snapshots` opens the repository with it.",
        "A whole source in the order of recovery, with its roles or users; an application logs in and reads.",
        "`tik-backup check --read-data` once, over everything.",
        "Call every contact. Correct the list.",
    ] {
        page.line(&format!("- [ ] {step}"));
    }
    page.line("");
}

pub(super) fn notes(page: &mut Page, config: &Config) {
    if config.runbook.notes.is_empty() {
        return;
    }
    page.line("## Notes");
    page.line("");
    for note in &config.runbook.notes {
        page.line(&cell(note));
        page.line("");
    }
}
