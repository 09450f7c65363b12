//! The output of `tik-backup restore --to` about the written files.

use crate::{
    output::{duration, name, printable, size},
    restore::{FolderReport, Report},
};

/// At most this many files are listed.
const FEW: u64 = 20;

/// Lists a few files, or their number; other entries are counted.
pub(super) fn text(report: &Report, what: &str, from: &str) -> String {
    let folder = report.folder.clone().unwrap_or_default();
    let others = others(&folder).join(", ");
    let mut text = format!("wrote {what} from {from}:");
    if folder.files > 0 && folder.files <= FEW {
        for file in &report.files {
            text.push_str(&format!("\n  {}", name(&file.to_string_lossy())));
        }
        if !others.is_empty() {
            text.push_str(&format!("\n  and {others}"));
        }
    } else {
        let files = if folder.files == 0 {
            "no files".to_owned()
        } else {
            crate::output::count(folder.files, "file")
        };
        let counts: Vec<_> = [files, others].into_iter().filter(|counted| !counted.is_empty()).collect();
        text.push_str(&format!(
            " {}, {}, {}",
            counts.join(", "),
            size(folder.bytes),
            duration(report.seconds)
        ));
    }
    folder.notes.iter().for_each(|note| text.push_str(&format!("\nnote: {}", printable(note))));
    text
}

/// The number of other entries. Directories are only counted if there are no files.
fn others(folder: &FolderReport) -> Vec<String> {
    let folders = if folder.files == 0 { folder.folders } else { 0 };
    [
        (folders, "folder", "folders"),
        (folder.symlinks, "symbolic link", "symbolic links"),
        (folder.others, "pipe, socket or device", "pipes, sockets and devices"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, one, several)| format!("{count} {}", if count == 1 { one } else { several }))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[&str], folder: FolderReport) -> String {
        let report = Report {
            source: "disk".to_owned(),
            item: "data".to_owned(),
            snapshot: "ab".repeat(32),
            time: jiff::Zoned::now(),
            seconds: 0.25,
            database: None,
            storage: None,
            folder: Some(folder),
            files: files.iter().map(Into::into).collect(),
            omitted: Vec::new(),
        };
        text(&report, "disk/data", "snapshot abababab")
    }

    #[test]
    fn names_of_files_stay_on_their_line() {
        let folder = FolderReport { files: 2, folders: 3, ..FolderReport::default() };
        assert_eq!(
            written(&["/out/a\nb\u{1b}[31m", "/out/c"], folder),
            "wrote disk/data from snapshot abababab:\n  /out/a\\nb\\u{1b}[31m\n  /out/c"
        );
    }

    #[test]
    fn what_is_no_file_is_counted() {
        let others = FolderReport { folders: 2, symlinks: 1, others: 3, ..FolderReport::default() };
        assert_eq!(
            written(&[], others.clone()),
            "wrote disk/data from snapshot abababab: no files, 2 folders, 1 symbolic link, 3 pipes, sockets and devices, 0 B, \
             0.2 s"
        );
        assert_eq!(
            written(&["/out/a"], FolderReport { files: 1, others: 1, ..others.clone() }),
            "wrote disk/data from snapshot abababab:\n  /out/a\n  and 1 symbolic link, 1 pipe, socket or device"
        );
        assert_eq!(
            written(&["/out/a"], FolderReport { files: 21, others: 0, bytes: 1536, ..others }),
            "wrote disk/data from snapshot abababab: 21 files, 1 symbolic link, 1.5 KiB, 0.2 s"
        );
        let nothing = FolderReport { notes: vec!["a\u{1b}b".to_owned()], ..FolderReport::default() };
        assert_eq!(
            written(&[], nothing),
            "wrote disk/data from snapshot abababab: no files, 0 B, 0.2 s\nnote: a\\u{1b}b"
        );
    }
}
