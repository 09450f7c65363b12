//! Stock `restic prune` beside a backup, on a storage where a backup has no lock against it.

use std::path::PathBuf;

use testkit::Restic;

use super::{place::Place, rest_server::RestServer};

/// Removes everything that no snapshot needs at this moment.
pub fn prune(repo: PathBuf, password: PathBuf) -> impl FnOnce() + Send + 'static {
    move || {
        Restic::new_().unwrap().ok(&repo, &password, &["prune"]);
    }
}

/// A repository behind a server, with a snapshot that is forgotten, so that a prune removes what the next backup uses again.
pub fn forgotten() -> Option<(Place, RestServer, PathBuf)> {
    let place = Place::backed_up(1)?;
    let server = RestServer::start(&place.repo());
    let config = place.remote(&server.location());
    let id = place.files_of("snapshots").remove(0).file_name().unwrap().to_str().unwrap().to_owned();
    place.new.ok(&place.repo(), &place.config.password_file(), &["forget", &id]);
    place.add("more");
    Some((place, server, config))
}

#[test]
fn packs_that_a_prune_removes_before_the_commit_fail_the_item() {
    let Some((place, server, config)) = forgotten() else { return };
    // All packs are stored, and no index lists the new ones: a prune takes them, and the old ones, for left-overs.
    server.before_upload("/index/", prune(place.repo(), place.config.password_file()));
    let run = place.run_remote(&config, &["backup"]);
    assert!(server.acted());
    if run.code() != Some(0) {
        assert!(run.stderr.contains("was removed from the repository while it ran"), "{}", run.stderr);
        assert!(place.files_of("snapshots").is_empty(), "a failed item leaves no snapshot");
    }
    // All its output is true.
    let snapshots = place.files_of("snapshots").len();
    // Code 1 says that packs of the run are gone.
    let repair = place.run(&["repair", "index"]);
    assert!(matches!(repair.code(), Some(0 | 1)), "{repair:?}");
    place.clean();
    place.all_restorable(snapshots);
    place.run_remote(&config, &["backup"]).ok();
    place.clean();
    place.all_restorable(snapshots + 1);
}

#[test]
fn a_snapshot_that_a_prune_broke_at_the_last_moment_is_removed_and_its_item_fails() {
    let Some((place, server, config)) = forgotten() else { return };
    // The packs have just been listed, and the snapshot that needs them is not written yet.
    server.before_upload("/snapshots/", prune(place.repo(), place.config.password_file()));
    let run = place.run_remote(&config, &["--json", "backup"]);
    assert!(server.acted());
    assert_eq!(run.code(), Some(1), "{run:?}");
    let item = &run.json()["items"][0];
    assert_eq!(item["outcome"], "failed", "{item}");
    assert!(item["error"].as_str().unwrap().contains("was removed again"), "{item}");
    assert!(place.files_of("snapshots").is_empty());
    place.run_remote(&config, &["backup"]).ok();
    place.clean();
    place.all_restorable(1);
}

#[test]
fn a_pack_that_is_lost_on_a_server_is_stored_again_and_readers_find_it() {
    let Some(place) = Place::backed_up(1) else { return };
    let server = RestServer::start(&place.repo());
    let config = place.remote(&server.location());
    std::fs::remove_file(place.largest_pack()).unwrap();
    let run = place.run_remote(&config, &["backup"]).expect_code(3);
    assert!(run.stderr.contains("removed from the index"), "{}", run.stderr);
    place.clean();
    place.all_restorable(2);

    // The same if the server does not allow files to be removed: this is reported.
    std::fs::remove_file(place.largest_pack()).unwrap();
    server.refuse_removal();
    for _ in 0..2 {
        // Again and again: the newest snapshot may not restore.
        let run = place.run_remote(&config, &["backup"]).expect_code(3);
        assert!(run.stderr.contains("could not be removed from the index"), "{}", run.stderr);
        let status = place.run_remote(&config, &["--json", "status", "--check"]).expect_code(5).json();
        assert_eq!(status["problems"][0]["kind"], "damage", "{status}");
        assert!(status["problems"][0]["text"].as_str().unwrap().contains("repair index"), "{status}");
    }
    let repair = place.run(&["repair", "index"]).expect_code(1);
    assert!(repair.stdout.contains("LOST: 1 pack that"), "{}", repair.stdout);
    place.clean();
    place.all_restorable(4);
    place.run_remote(&config, &["check"]).ok();
    let status = place.run_remote(&config, &["--json", "status"]).ok().json();
    assert!(status["problems"].as_array().unwrap().is_empty(), "{status}");
}
