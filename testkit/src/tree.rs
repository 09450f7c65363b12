//! A file tree with all unusual kinds of files, and a full description of a tree for comparisons.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr,
    mknodat, utimensat,
};

/// Names that programs often handle wrongly.
pub fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"plain.txt"[..],
        b"line\nfeed",
        b"tab\tand\rreturn",
        b"raw\xff\xfe\xc3bytes",
        b"-rf",
        b"--help",
        b"trailing dot.",
        b"trailing space ",
        b" leading space",
        b"back\\slash",
        b"quote\"d 'and' `ticked`",
        b"*?[a]{b}",
        b"%2Fpercent%",
        b"~tilde",
        b"$HOME",
        b"...",
        b"..hidden",
        b".x",
        b"\x01\x7f",
        b"\xe2\x80\x8bzero width",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    for text in ["Grüße", "Gru\u{308}\u{df}e", "日本語", "🦀 crab", "\u{202e}right to left", "\u{feff}mark"]
    {
        names.push(text.as_bytes().to_vec());
    }
    names.push(vec![b'n'; 255]);
    names.push([b"u".as_slice(), "é".repeat(127).as_bytes()].concat());
    names
}

fn under(folder: &Path, name: impl AsRef<[u8]>) -> PathBuf {
    folder.join(OsStr::from_bytes(name.as_ref()))
}

/// Sets access and modification time.
pub fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Whether the filesystem takes extended attributes of users.
fn takes_xattrs(folder: &Path) -> bool {
    lsetxattr(folder, "user.probe", b"", XattrFlags::empty())
        .is_ok_and(|()| rustix::fs::removexattr(folder, "user.probe").is_ok())
}

/// Builds the tree in an existing empty directory. Entries that only root may create are created only if root runs this.
pub fn build(root: &Path) {
    let names = root.join("names");
    fs::create_dir(&names).unwrap();
    for (number, name) in odd_names().iter().enumerate() {
        fs::write(under(&names, name), format!("content {number}")).unwrap();
        let folder = under(&root.join("names"), [b"D", &name[..name.len().min(254)]].concat());
        fs::create_dir(&folder).unwrap();
        fs::write(under(&folder, name), name).unwrap();
        symlink(OsStr::from_bytes(name), folder.join("LINK")).unwrap();
    }
    contents(&root.join("contents"));
    links(&root.join("links"));
    modes(&root.join("modes"));
    others(&root.join("others"));
    if takes_xattrs(root) {
        xattrs(&root.join("xattrs"));
    }
    let mut deep = root.join("deep");
    for level in 0..60 {
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("file"), format!("level {level}")).unwrap();
        deep.push(format!("level {level}"));
    }
    // Times last, from below, as building changes them.
    let mut seconds = -10_000_000_i64;
    let mut all = Vec::new();
    each(root, &mut |path| all.push(path.to_owned()));
    for path in all.iter().rev() {
        set_times(path, seconds, 123_456_789 + seconds.rem_euclid(1000));
        seconds += 7_654_321;
    }
    set_times(root, 981_173_106, 1);
}

fn contents(dir: &Path) {
    fs::create_dir_all(dir.join("empty folder/in/folder")).unwrap();
    File::create(dir.join("empty")).unwrap();
    fs::write(dir.join("zeros"), vec![0; 300_000]).unwrap();
    let noise: Vec<u8> =
        (0..3_000_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    fs::write(dir.join("noise"), &noise).unwrap();
    fs::write(dir.join("same noise"), &noise).unwrap();
    let mut sparse = File::create(dir.join("sparse")).unwrap();
    sparse.write_all(b"begin").unwrap();
    sparse.seek(SeekFrom::Start(20_000_000)).unwrap();
    sparse.write_all(b"middle").unwrap();
    sparse.set_len(50_000_001).unwrap();
}

fn links(dir: &Path) {
    fs::create_dir_all(dir.join("folder/below")).unwrap();
    fs::write(dir.join("a first"), "linked").unwrap();
    fs::hard_link(dir.join("a first"), dir.join("z last")).unwrap();
    fs::hard_link(dir.join("a first"), dir.join("folder/below/third")).unwrap();
    fs::write(dir.join("other"), "linked").unwrap();
    for (name, target) in [
        ("dangling", "nowhere/at/all"),
        ("to-folder", "folder"),
        ("absolute", "/etc/hostname"),
        ("up", "../../../../../.."),
        ("to-itself", "to-itself"),
        ("spaces", " a b\n"),
    ] {
        symlink(target, dir.join(name)).unwrap();
    }
    symlink(OsStr::from_bytes(b"\xff\xfe"), dir.join("raw")).unwrap();
    symlink("x".repeat(4000), dir.join("long")).unwrap();
}

fn modes(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let root = rustix::process::geteuid().is_root();
    for mode in [0, 0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777] {
        // An ordinary user cannot read all of his own files.
        if root || mode & 0o400 != 0 {
            let file = dir.join(format!("file {mode:04o}"));
            fs::write(&file, format!("{mode:o}")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        if root || mode & 0o700 == 0o700 {
            let folder = dir.join(format!("folder {mode:04o}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("in it"), "x").unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    if root {
        let owned = dir.join("owned");
        fs::write(&owned, "x").unwrap();
        std::os::unix::fs::chown(&owned, Some(12_345), Some(54_321)).unwrap();
        fs::set_permissions(&owned, fs::Permissions::from_mode(0o6755)).unwrap();
        symlink("x", dir.join("owned link")).unwrap();
        std::os::unix::fs::lchown(dir.join("owned link"), Some(1), Some(2)).unwrap();
    }
}

fn others(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let make =
        |name: &str, tpe, device| mknodat(CWD, dir.join(name), tpe, Mode::from_raw_mode(0o640), device);
    make("pipe", FileType::Fifo, 0).unwrap();
    drop(UnixListener::bind(dir.join("socket")).unwrap());
    if rustix::process::geteuid().is_root() {
        // A container may forbid it even to root.
        make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)).ok();
        make("loop", FileType::BlockDevice, rustix::fs::makedev(7, 260)).ok();
    }
}

fn xattrs(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| lsetxattr(path, name, value, XattrFlags::empty());
    let file = dir.join("file");
    fs::write(&file, "x").unwrap();
    set(&file, "user.text", "Grüße".as_bytes()).unwrap();
    set(&file, "user.bytes", &[0, 255, 10, 0]).unwrap();
    set(&file, "user.long", &[b'l'; 2000]).unwrap();
    set(dir, "user.folder", b"1").unwrap();
    // An access list that lets user 1234 read: version 2, then tag, permission and id of each entry.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permission, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&permission.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
    }
    fs::write(dir.join("access list"), "x").unwrap();
    // Not every filesystem has them.
    set(&dir.join("access list"), "system.posix_acl_access", &list).ok();
    set(dir, "system.posix_acl_default", &list).ok();
    let link = dir.join("link");
    symlink("file", &link).unwrap();
    set(&link, "trusted.of-a-link", b"only root").ok();
}

/// Everything below a directory, a directory before its content.
pub fn each(folder: &Path, see: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        see(&entry.path());
        if entry.file_type().unwrap().is_dir() {
            each(&entry.path(), see);
        }
    }
}

fn describe_one(path: &Path) -> String {
    let meta = fs::symlink_metadata(path).unwrap();
    let mut text = format!(
        "mode {:o} owner {}:{} modified {}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let tpe = meta.file_type();
    if tpe.is_symlink() {
        write!(text, " to {:?}", fs::read_link(path).unwrap()).unwrap();
    } else if tpe.is_file() {
        let content = fs::read(path).unwrap();
        let hash = xxhash_rust::xxh3::xxh3_128(&content);
        write!(text, " bytes {} content {hash:x}", content.len()).unwrap();
    } else if !tpe.is_dir() {
        write!(text, " device {:x}", meta.rdev()).unwrap();
    }
    let mut names = vec![0; 65_536];
    let length = llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut names: Vec<&[u8]> =
        names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = vec![0; 65_536];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        write!(text, " {}={}", name.escape_ascii(), value[..length].escape_ascii()).unwrap();
    }
    text
}

/// The whole tree: by path, what an operator could care about; the root under the empty path. Names of one inode tell
/// the first of them.
pub fn describe(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut tree = BTreeMap::from([(Vec::new(), describe_one(root))]);
    let mut inodes: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    each(root, &mut |path| {
        let below = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let mut text = describe_one(path);
        let meta = fs::symlink_metadata(path).unwrap();
        if meta.nlink() > 1 && !meta.is_dir() {
            let first = inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| below.clone());
            write!(text, " links {} same as {}", meta.nlink(), first.escape_ascii()).unwrap();
        }
        tree.insert(below, text);
    });
    tree
}

/// Fails the test with what differs.
#[track_caller]
pub fn assert_same(expected: &BTreeMap<Vec<u8>, String>, found: &BTreeMap<Vec<u8>, String>) {
    let mut report = String::new();
    for path in expected.keys().chain(found.keys().filter(|path| !expected.contains_key(*path))) {
        let (one, other) = (expected.get(path), found.get(path));
        if one != other {
            writeln!(report, "{}\n  expected {one:?}\n  found    {other:?}", path.escape_ascii()).unwrap();
        }
    }
    assert!(report.is_empty(), "the trees differ:\n{report}");
}
