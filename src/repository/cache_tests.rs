use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::SystemTime};

use super::*;

struct Place {
    state: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Cache {
        Cache::open(self.state.path(), "11aa", Trust::Kept).unwrap()
    }

    fn path(&self, kind: Kind, id: &Id) -> PathBuf {
        self.state.path().join("cache/11aa").join(kind.path(id.to_hex().as_str()))
    }
}

const TEXT: &[u8] = b"the content of an index file";

/// A cache with a copy of [`TEXT`], which the storage has listed.
fn filled(place: &Place) -> (Cache, Id) {
    let id = hash(TEXT);
    place.open().put(Kind::Index, &id, TEXT);
    let cache = place.open();
    cache.listed(Kind::Index, [(&id, Some(TEXT.len() as u32))].into_iter());
    (cache, id)
}

#[test]
fn a_copy_counts_after_the_storage_has_listed_the_file() {
    let place = Place::new();
    let (cache, id) = filled(&place);
    assert_eq!(cache.get(Kind::Index, &id).as_deref(), Some(TEXT));
    let unlisted = place.open();
    assert_eq!(unlisted.get(Kind::Index, &id), None);
    unlisted.listed(Kind::Index, [(&id, None)].into_iter());
    assert_eq!(unlisted.get(Kind::Index, &id).as_deref(), Some(TEXT));
}

#[test]
fn a_damaged_copy_is_removed_and_does_not_count() {
    for damage in [&b"the content of an index fil\x00"[..], b"", b"the content of an index file and more"] {
        let place = Place::new();
        let (cache, id) = filled(&place);
        fs::write(place.path(Kind::Index, &id), damage).unwrap();
        assert_eq!(cache.get(Kind::Index, &id), None);
        assert!(!place.path(Kind::Index, &id).exists());
        cache.put(Kind::Index, &id, TEXT);
        assert_eq!(cache.get(Kind::Index, &id).as_deref(), Some(TEXT));
    }
}

#[test]
fn a_copy_does_not_hide_a_file_that_has_another_length_in_the_storage() {
    let place = Place::new();
    let (cache, id) = filled(&place);
    cache.listed(Kind::Index, [(&id, Some(7))].into_iter());
    assert_eq!(cache.get(Kind::Index, &id), None);
}

#[test]
fn lost_and_foreign_entries_cost_nothing() {
    let place = Place::new();
    let (cache, id) = filled(&place);
    fs::remove_file(place.path(Kind::Index, &id)).unwrap();
    assert_eq!(cache.get(Kind::Index, &id), None);
    // A directory of its name, and files of others.
    fs::create_dir(place.path(Kind::Index, &id)).unwrap();
    let foreign = place.state.path().join("cache/11aa/index/notes.txt");
    fs::write(&foreign, "mine").unwrap();
    let cache = place.open();
    cache.listed(Kind::Index, [(&id, None)].into_iter());
    assert_eq!(cache.get(Kind::Index, &id), None);
    cache.put(Kind::Index, &id, TEXT);
    assert!(foreign.exists() && place.path(Kind::Index, &id).is_dir());
}

#[test]
fn a_link_or_a_pipe_is_not_an_entry() {
    let place = Place::new();
    let (cache, id) = filled(&place);
    let path = place.path(Kind::Index, &id);
    let elsewhere = place.state.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(cache.get(Kind::Index, &id), None);
    fs::remove_file(&path).unwrap();
    rfs::mknodat(rfs::CWD, &path, rfs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    cache.listed(Kind::Index, [(&id, None)].into_iter());
    assert_eq!(cache.get(Kind::Index, &id), None);
}

#[test]
fn a_link_in_place_of_a_directory_leads_nowhere() {
    let place = Place::new();
    let (cache, id) = filled(&place);
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = place.state.path().join("cache/11aa/index");
    fs::rename(&folder, place.state.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &folder).unwrap();
    let other = hash(b"another text");
    cache.put(Kind::Index, &other, b"another text");
    cache.listed(Kind::Index, [(&other, None)].into_iter());
    assert_eq!(cache.get(Kind::Index, &id), None, "the storage no longer has it");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(Cache::open(place.state.path(), "11aa", Trust::Kept).is_none());
    // The cache of another repository that was not used for long.
    let old = SystemTime::now() - OBSOLETE - Duration::from_secs(60);
    for name in ["22bb", "33cc"] {
        let cache = place.state.path().join("cache").join(name);
        fs::create_dir_all(cache.join("index")).unwrap();
        fs::write(cache.join("index/a copy"), "x").unwrap();
    }
    std::os::unix::fs::symlink(elsewhere.path(), place.state.path().join("cache/44dd")).unwrap();
    let kept = elsewhere.path().join("index");
    fs::create_dir(&kept).unwrap();
    for path in [place.state.path().join("cache/22bb"), elsewhere.path().to_owned()] {
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    Cache::open(place.state.path(), "55ee", Trust::Kept).unwrap();
    assert!(!place.state.path().join("cache/22bb").exists());
    assert!(place.state.path().join("cache/33cc").exists() && kept.exists());
}

#[test]
fn content_with_another_name_is_not_kept() {
    let place = Place::new();
    let (cache, _) = filled(&place);
    let name = hash(b"something else");
    cache.put(Kind::Index, &name, TEXT);
    assert_eq!(cache.get(Kind::Index, &name), None);
    assert!(!place.path(Kind::Index, &name).exists());
}

#[test]
fn files_that_the_storage_no_longer_has_vanish() {
    let place = Place::new();
    let (cache, id) = filled(&place);
    cache.listed(Kind::Snapshot, std::iter::empty());
    assert!(place.path(Kind::Index, &id).exists());
    cache.listed(Kind::Index, std::iter::empty());
    assert!(!place.path(Kind::Index, &id).exists());
    assert_eq!(cache.get(Kind::Index, &id), None);
}

#[test]
fn a_fresh_cache_takes_nothing_from_earlier_processes() {
    let place = Place::new();
    let (_, id) = filled(&place);
    let cache = Cache::open(place.state.path(), "11aa", Trust::Fresh).unwrap();
    let list = |cache: &Cache| cache.listed(Kind::Index, [(&id, Some(TEXT.len() as u32))].into_iter());
    list(&cache);
    assert_eq!(cache.get(Kind::Index, &id), None);
    cache.put(Kind::Index, &id, TEXT);
    list(&cache);
    assert_eq!(cache.get(Kind::Index, &id).as_deref(), Some(TEXT));
}

#[test]
fn everything_is_private() {
    let place = Place::new();
    let (_, id) = filled(&place);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in ["cache", "cache/11aa", "cache/11aa/index", "cache/11aa/snapshots", "cache/11aa/trees"] {
        assert_eq!(mode(place.state.path().join(folder)), 0o700, "{folder}");
    }
    assert_eq!(mode(place.path(Kind::Index, &id)), 0o600);
}

#[test]
fn where_no_cache_can_be_there_is_none() {
    let place = Place::new();
    let missing = place.state.path().join("missing");
    assert!(Cache::open(&missing, "11aa", Trust::Kept).is_none());
    fs::write(place.state.path().join("cache"), "a file").unwrap();
    assert!(Cache::open(place.state.path(), "11aa", Trust::Kept).is_none());
}

#[test]
fn many_packs_displace_the_oldest() {
    let place = Place::new();
    let limits = Limits { packs: 10_000, pack: 1_000, ..LIMITS };
    let cache = Cache { limits, ..place.open() };
    let pack = |n: u8| vec![n; 1_000];
    for n in 0..11 {
        cache.put(Kind::Trees, &hash(&pack(n)), &pack(n));
        let path = place.path(Kind::Trees, &hash(&pack(n)));
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(1000 - u64::from(n))).unwrap();
    }
    let bytes: u64 = cache.files(Kind::Trees).iter().map(|(_, bytes, _)| bytes).sum();
    assert!((1_000..=10_000).contains(&bytes), "{bytes}");
    assert!(!place.path(Kind::Trees, &hash(&pack(0))).exists());
    assert!(place.path(Kind::Trees, &hash(&pack(10))).exists());
    let too_large = vec![1; 1_001];
    cache.put(Kind::Trees, &hash(&too_large), &too_large);
    assert!(!place.path(Kind::Trees, &hash(&too_large)).exists());
}

#[test]
fn a_full_disk_and_a_full_cache_get_no_more_copies() {
    for limits in [Limits { free: u64::MAX, ..LIMITS }, Limits { all: TEXT.len() as u64 - 1, ..LIMITS }] {
        let place = Place::new();
        let cache = Cache { limits, ..place.open() };
        let id = hash(TEXT);
        cache.put(Kind::Index, &id, TEXT);
        assert_eq!(cache.get(Kind::Index, &id), None);
        assert!(cache.files(Kind::Index).is_empty(), "no draft either");
    }
}

#[test]
fn two_processes_share_it() {
    let place = Place::new();
    let contents: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; 10_000]).collect();
    let ids: Vec<Id> = contents.iter().map(|content| hash(content)).collect();
    let work = || {
        let cache = place.open();
        for (id, content) in ids.iter().zip(&contents) {
            cache.put(Kind::Snapshot, id, content);
            let copy = cache.get(Kind::Snapshot, id);
            assert!(copy.is_none_or(|copy| copy == content));
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
    let cache = place.open();
    cache.listed(Kind::Snapshot, ids.iter().map(|id| (id, None)));
    assert!(ids.iter().zip(&contents).all(|(id, content)| cache.get(Kind::Snapshot, id).unwrap() == content));
    assert_eq!(cache.files(Kind::Snapshot).len(), contents.len(), "no drafts are left");
}

#[test]
fn caches_of_other_repositories_go_when_they_are_old() {
    let place = Place::new();
    for (other, days) in [("22bb", 31), ("33cc", 2)] {
        Cache::open(place.state.path(), other, Trust::Kept).unwrap();
        let folder = File::open(place.state.path().join("cache").join(other)).unwrap();
        folder.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
    }
    place.open();
    let there = |name: &str| place.state.path().join("cache").join(name).exists();
    assert_eq!(["11aa", "22bb", "33cc"].map(there), [true, false, true]);
}
