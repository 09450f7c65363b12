use std::fs;

use super::*;

const A: &str = "aaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbb";

/// A state folder and places for repositories.
struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["state", "one", "two"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn home(&self, host: &str, place: &str) -> Home {
        Home::example(&self.path("state"), host, &self.path(place).display().to_string())
    }

    /// The file before the repository is open.
    fn choose(&self, home: &Home) -> String {
        let mut list = List::load(&home.state_dir);
        let file = list.choose(home, home.resolved()).unwrap();
        list.save().unwrap();
        // As the history itself does.
        fs::write(home.state_dir.join(&file), "x").unwrap();
        file
    }

    /// The file once the repository of this id was found there.
    fn open(&self, home: &Home, id: &str) -> Met {
        self.open_found(home, id, false)
    }

    fn open_found(&self, home: &Home, id: &str, is_foreign: bool) -> Met {
        let current = self.choose(home);
        let mut list = List::load(&home.state_dir);
        let met = list.meet(home, &current, Found { id, place: home.resolved(), is_foreign });
        list.save().unwrap();
        fs::write(home.state_dir.join(&met.file), "x").unwrap();
        met
    }
}

fn known(file: &str) -> Met {
    Met { file: file.to_owned(), note: None }
}

#[test]
fn the_first_repository_has_the_history_that_is_there_and_every_other_one_of_its_own() {
    let room = Room::new();
    let one = room.home("h", "one");
    assert_eq!(room.open(&one, A), known(FILE));
    let two = room.open(&room.home("h", "two"), B);
    assert_ne!(two.file, FILE);
    let other_host = room.open(&room.home("g", "one"), A);
    assert!(other_host.file != FILE && other_host.file != two.file);
    // Each comes back to its own, before and after its repository is open.
    for _ in 0..2 {
        assert_eq!(room.choose(&one), FILE);
        assert_eq!(room.open(&one, A), known(FILE));
        assert_eq!(room.choose(&room.home("h", "two")), two.file);
        assert_eq!(room.choose(&room.home("g", "one")), other_host.file);
    }
}

#[test]
fn another_repository_at_the_same_place_begins_anew_and_the_first_comes_back() {
    let room = Room::new();
    let home = room.home("h", "one");
    room.open(&home, A);
    let other = room.open(&home, B);
    assert_ne!(other.file, FILE);
    let note = other.note.unwrap();
    assert!(note.contains("(was aaaaaaaa, is bbbbbbbb)") && note.contains("kept in history.db"), "{note}");
    // Disks that take turns.
    assert_eq!(room.choose(&home), other.file);
    assert_eq!(room.open(&home, A), known(FILE));
    assert_eq!(room.choose(&home), FILE);
    assert_eq!(room.open(&home, B), known(&other.file));
}

#[test]
fn a_copy_elsewhere_is_kept_apart_unless_an_operator_says_that_it_has_moved() {
    let room = Room::new();
    let (one, two) = (room.home("h", "one"), room.home("h", "two"));
    room.open(&one, A);
    let copy = room.open(&two, A);
    assert_ne!(copy.file, FILE);
    let old = room.path("one").display().to_string();
    let note = copy.note.unwrap();
    assert!(note.contains(&format!("init --moved-from '{old}'")), "{note}");
    let mut list = List::load(&two.state_dir);
    let found = |id| Found { id, place: two.resolved(), is_foreign: false };
    assert!(list.moved(&two, &["/no/such/place"], found(A)).unwrap_err().to_string().contains(&old));
    assert!(list.moved(&two, &[&old], found(B)).is_err(), "it is another repository");
    let (file, retired) = list.moved(&two, &[&old], found(A)).unwrap();
    assert_eq!((file.as_str(), retired), (FILE, Some(copy.file)));
    list.save().unwrap();
    assert_eq!(room.open(&two, A), known(FILE));
    assert_ne!(room.choose(&one), FILE, "what is found at the old place is a copy now");
}

#[test]
fn a_link_to_a_repository_is_the_same_place_also_while_the_storage_is_away() {
    let room = Room::new();
    room.open(&room.home("h", "one"), A);
    std::os::unix::fs::symlink(room.path("one"), room.path("link")).unwrap();
    let link = room.home("h", "link");
    assert_eq!(room.choose(&link), FILE);
    assert_eq!(room.open(&link, A), known(FILE));
    fs::remove_dir(room.path("one")).unwrap();
    assert_eq!(room.choose(&link), FILE);
    // A link that leads to another repository.
    fs::remove_file(room.path("link")).unwrap();
    std::os::unix::fs::symlink(room.path("two"), room.path("link")).unwrap();
    assert_ne!(room.open(&link, B).file, FILE);
}

#[test]
fn the_history_of_another_repository_waits_for_it() {
    let room = Room::new();
    // From before there was a list.
    fs::write(room.path("state").join(FILE), "x").unwrap();
    let met = room.open_found(&room.home("h", "two"), B, true);
    assert_ne!(met.file, FILE);
    assert!(met.note.unwrap().contains("the history of another repository"));
    assert_eq!(room.open(&room.home("h", "one"), A), known(FILE));
    assert_eq!(room.open(&room.home("h", "two"), B), known(&met.file));
}

#[test]
fn names_that_lead_out_of_the_folder_are_not_followed() {
    for (name, good) in [
        (FILE, true),
        ("history-0123abcd.db", true),
        ("history-../../x.db", false),
        ("../history.db", false),
        ("history-0123abcde.db", false),
        ("", false),
    ] {
        assert_eq!(is_file_name(name), good, "{name}");
    }
    let room = Room::new();
    let home = room.home("h", "one");
    room.open(&home, A);
    let path = room.path("state").join("repositories.json");
    let text = fs::read_to_string(&path).unwrap().replace("history.db", "../../etc/passwd");
    fs::write(&path, text).unwrap();
    assert_eq!(room.choose(&home), FILE);
}
