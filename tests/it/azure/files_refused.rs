//! The client of the File service against the fake: lists with empty pages, and failures of one file and of a whole share.

use std::io::Read;

use testkit::azure::Fault;
use tik_backup::{
    azure::{Scope, files::Progress},
    error::Error,
    stream::cancel::Cancel,
};

use super::files_support::{pattern, snapshot, start, with_key};

#[test]
fn a_page_without_entries_is_not_the_end_of_a_list() {
    let azure = start();
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let empty = "<EnumerationResults><Entries/><NextMarker>2!+/&amp;=0</NextMarker></EnumerationResults>";
    let hide = || azure.fault(Fault::xml("GET", "restype=directory", empty));
    hide();
    assert!(!files.has_content("docs", &cancel).unwrap());
    azure.put_file("acct", "docs", "file", "content");
    hide();
    assert!(files.has_content("docs", &cancel).unwrap());
    let taken = snapshot(&files);
    hide();
    assert_eq!(files.list(&taken, "", &cancel).unwrap().len(), 1);
    azure.fault(Fault::xml("GET", "restype=directory", empty).always());
    for error in [files.has_content("docs", &cancel).map(drop), files.list(&taken, "", &cancel).map(drop)] {
        let error = error.unwrap_err();
        assert!(error.summary().contains("its pages repeat"), "{error}");
    }
}

#[test]
fn a_file_that_fails_alone_is_told_from_a_share_that_does() {
    let azure = start();
    azure.put_file("acct", "docs", "file", pattern(3_000_000));
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let taken = snapshot(&files);
    for (status, code, scope, says) in [
        (404, "ResourceNotFound", Scope::Object, "it does not exist (status 404 ResourceNotFound)"),
        (404, "ShareNotFound", Scope::Service, "share snapshot does not exist (status 404 ShareNotFound)"),
        (409, "SharingViolation", Scope::Object, "another client has opened it"),
        (403, "AuthorizationFailure", Scope::Service, "403 AuthorizationFailure"),
    ] {
        azure.fault(Fault::answer("GET", "/docs/file", status, code));
        let failure = files.download(&taken, "file", 3_000_000, &cancel).err().unwrap();
        assert_eq!(failure.scope(), scope, "{failure}");
        let error = Error::from(failure);
        let begin = "cannot read the file \"file\" of the share \"docs\": GET http";
        assert!(error.summary().starts_with(begin) && error.summary().contains(says), "{error}");
        assert!(error.hint_text().is_some(), "{error}");
    }
    azure.fault(Fault::cut("GET", "/docs/file", 1_000_000));
    azure.fault(Fault::answer("GET", "/docs/file", 404, "ResourceNotFound"));
    let (_, mut content) = files.download(&taken, "file", 3_000_000, &cancel).unwrap();
    let witness = content.witness();
    content.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(witness.is_gone() && !witness.is_changed());
    assert_eq!(witness.failure().unwrap().scope(), Scope::Object);
}

#[test]
fn pages_that_go_in_a_circle_are_an_error_however_long_it_is() {
    let azure = start();
    let files = with_key(&azure);
    let cancel = Cancel::new();
    let taken = snapshot(&files);
    let circle = || {
        for next in ["a", "b", "a"] {
            let page = "<EnumerationResults><Entries/><NextMarker>";
            let page = format!("{page}{next}</NextMarker></EnumerationResults>");
            azure.fault(Fault::xml("GET", "restype=directory", &page));
        }
    };
    circle();
    let mut progress = Progress::default();
    let failure = (0..9).find_map(|_| files.list_page(&taken, "", &mut progress, &cancel).err()).unwrap();
    assert!(failure.to_string().contains("its pages repeat"), "{failure}");
    assert!(!progress.is_over());
    circle();
    let error = files.each_live_entry("docs", "", &cancel, &mut |_| ()).unwrap_err().summary();
    assert!(error.starts_with("cannot list the directory") && error.contains("its pages repeat"), "{error}");
}
