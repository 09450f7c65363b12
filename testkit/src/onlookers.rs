//! The parts of a running program and its children that other users of the machine can read.

use std::{collections::BTreeSet, fs};

/// A process and all that descend from it.
pub fn family(root: u32) -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The second field is a name in parentheses that may hold anything; the fourth is the parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut family = BTreeSet::from([root]);
    loop {
        let more: Vec<_> = parents.iter().filter(|(_, p)| family.contains(p)).map(|(pid, _)| *pid).collect();
        let before = family.len();
        family.extend(more);
        if family.len() == before {
            return family;
        }
    }
}

/// Arguments and environment of a process.
pub fn visible(pid: u32) -> Vec<u8> {
    let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    [read("cmdline"), read("environ")].join(&b'\n')
}

/// Does the text occur in these bytes?
pub fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
