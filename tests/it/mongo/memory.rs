//! What a dump takes of memory, whatever it reads.

use std::fs;

use mongodb::bson::rawdoc;
use testkit::{
    Cmd, MongoServer, Tool,
    reports::{ids_of, item},
    running::Running,
    skip_unless,
};

use super::{
    link::link,
    support::{configured, full, url},
};

/// Documents, and bytes of each.
const DOCUMENTS: i32 = 40;
const LENGTH: usize = 15_000_000;
/// Kilobytes that a backup and a restore may take; all documents together are 600,000.
const BACKUP: u64 = 300_000;
const RESTORE: u64 = 450_000;

/// The most memory that a program has taken, in kB, and its output.
fn peak(mut running: Running) -> (u64, String) {
    let status = format!("/proc/{}/status", running.id());
    let mut peak = 0;
    while !running.has_ended() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    (peak, running.finish().expect_code(0).stdout)
}

#[test]
fn alone_large_documents_do_not_fill_the_memory() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    for id in 0..DOCUMENTS {
        let text = format!("{id:08}").repeat(LENGTH / 8);
        link.insert("large", "c", [&rawdoc! { "_id": id, "text": text }]);
    }
    let config = configured(&server, "");
    let (backup, stdout) = peak(Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command()));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let read = item(&report, "large")["bytes_read"].as_u64().unwrap();
    assert!(read > 600_000_000, "{report:#}");
    assert_eq!(ids_of(&config, &full("large")).len(), 1);
    assert!(backup > 0 && backup < BACKUP, "the backup took {backup} kB for {read} bytes");
    server.command("large", mongodb::bson::doc! { "dropDatabase": 1 });
    let restore = ["--json", "restore", "mg/large", "--into", &url(&server, "large")];
    let (restore, _) = peak(Running::start(Cmd::with(&config).args(restore).into_command()));
    assert!(restore > 0 && restore < RESTORE * 3 / 2, "the restore took {restore} kB for {read} bytes");
    assert_eq!(
        link.content("large").values().map(|one| one.documents.len()).sum::<usize>(),
        DOCUMENTS as usize
    );
}
