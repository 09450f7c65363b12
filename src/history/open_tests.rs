use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn home(folder: &Path) -> Home {
    Home::example(&folder.join("state"), "h", "/nowhere")
}

/// A history with content.
fn begun(folder: &Path) -> PathBuf {
    let history = History::open_home(home(folder), Check::Quick).unwrap();
    assert_eq!(history.opened(), Opened::New);
    history.change(|tx| History::set_meta(tx, "test", "was here")).unwrap();
    drop(history);
    folder.join("state/history.db")
}

fn knows(history: &History) -> bool {
    history.read(|tx| History::meta(tx, "test")).unwrap().is_some()
}

#[test]
fn whatever_is_no_history_is_set_aside_and_is_a_problem_until_it_is_accepted() {
    for damage in ["garbage", "empty", "truncated", "folder"] {
        let folder = tempfile::tempdir().unwrap();
        let path = begun(folder.path());
        match damage {
            "garbage" => fs::write(&path, b"this is no database".repeat(1000)).unwrap(),
            "empty" => fs::write(&path, "").unwrap(),
            "truncated" => File::options().write(true).open(&path).unwrap().set_len(5000).unwrap(),
            _ => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
        }
        let history = History::open_home(home(folder.path()), Check::Full).unwrap();
        let Opened::Damaged(aside) = history.opened() else { panic!("{damage}: not seen") };
        assert!(aside.exists() && !knows(&history), "{damage}");
        let problem = history.own_problem().unwrap().unwrap();
        assert!(problem.text.contains(&aside.display().to_string()), "{damage}: {}", problem.text);
        drop(history);
        // The next process has the note too.
        let history = History::open_home(home(folder.path()), Check::Full).unwrap();
        assert_eq!(history.opened(), Opened::Present, "{damage}");
        assert_eq!(history.own_problem().unwrap(), Some(problem), "{damage}");
        let accepted = history.accept_damage(&Zoned::now()).unwrap();
        let accepted = accepted.map(|damage| (damage.file, damage.gone));
        assert_eq!(accepted, Some((aside.display().to_string(), false)), "{damage}");
        assert_eq!(history.own_problem().unwrap(), None, "{damage}");
        assert_eq!(history.accept_damage(&Zoned::now()).unwrap(), None, "{damage}");
    }
}

#[test]
fn a_history_that_is_gone_is_a_problem_until_it_is_accepted_unless_all_of_the_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = begun(folder.path());
    fs::remove_file(&path).unwrap();
    let history = History::open_home(home(folder.path()), Check::Full).unwrap();
    assert_eq!(history.opened(), Opened::Lost(path.clone()));
    drop(history);
    let history = History::open_home(home(folder.path()), Check::Full).unwrap();
    let problem = history.own_problem().unwrap().unwrap();
    let said = format!("the history was lost: {} is gone;", path.display());
    assert!(problem.text.starts_with(&said), "{}", problem.text);
    let accepted = history.accept_damage(&Zoned::now()).unwrap().unwrap();
    assert!(accepted.gone);
    assert_eq!(history.own_problem().unwrap(), None);
    drop(history);
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let history = History::open_home(home(folder.path()), Check::Full).unwrap();
    assert_eq!((history.opened(), history.own_problem().unwrap()), (Opened::New, None));
}

#[test]
fn a_link_in_place_of_a_history_is_an_error_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = begun(folder.path());
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    symlink(folder.path().join("elsewhere"), &path).unwrap();
    assert!(History::open_home(home(folder.path()), Check::Full).is_err());
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn who_has_a_history_open_that_was_set_aside_does_no_harm_to_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = begun(folder.path());
    let before = History::open_home(home(folder.path()), Check::Quick).unwrap();
    set_aside(&path).unwrap();
    let after = History::open_home(home(folder.path()), Check::Quick).unwrap();
    after.change(|tx| History::set_meta(tx, "test", "of the new one")).unwrap();
    // Its files are found by their paths, which are those of the new one.
    drop(before);
    after.change(|tx| History::set_meta(tx, "more", "of the new one")).unwrap();
    drop(after);
    let history = History::open_home(home(folder.path()), Check::Full).unwrap();
    assert_eq!(history.opened(), Opened::Present);
    assert!(knows(&history) && history.read(|tx| History::meta(tx, "more")).unwrap().is_some());
}

#[test]
fn a_list_that_is_lost_is_made_anew_from_the_histories() {
    let folder = tempfile::tempdir().unwrap();
    let path = begun(folder.path());
    let list = folder.path().join("state/repositories.json");
    assert_eq!(fs::metadata(&list).unwrap().permissions().mode() & 0o777, 0o600);
    let other = || Home::example(&folder.path().join("state"), "g", "/elsewhere");
    let second = History::open_home(other(), Check::Quick).unwrap();
    second.change(|tx| History::set_meta(tx, "second", "was here")).unwrap();
    drop(second);
    for damage in ["no JSON", "lost"] {
        fs::write(&list, damage).unwrap();
        if damage == "lost" {
            fs::remove_file(&list).unwrap();
        }
        // Open the second one first: it must not use the first one's file.
        let second = History::open_home(other(), Check::Quick).unwrap();
        assert!(second.read(|tx| History::meta(tx, "second")).unwrap().is_some(), "{damage}");
        assert!(knows(&History::open_home(home(folder.path()), Check::Quick).unwrap()), "{damage}");
    }
    assert!(path.exists());
}

#[test]
fn what_only_reads_is_no_change_to_the_list() {
    let folder = tempfile::tempdir().unwrap();
    begun(folder.path());
    let list = folder.path().join("state/repositories.json");
    let number = inode(&list);
    History::open_home(home(folder.path()), Check::Quick).unwrap();
    assert_eq!(inode(&list), number);
}
