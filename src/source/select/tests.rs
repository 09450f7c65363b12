//! What names and patterns mean.

use super::*;
use std::os::unix::ffi::OsStringExt;

/// What is chosen of these names; those with a slash at the end are directories.
fn chosen<'n>(pattern: &str, names: &[&'n str]) -> Result<Vec<&'n str>> {
    let mut survey = Survey::new(&[pattern.into()]);
    let split = |name: &'n str| match name.strip_suffix("//") {
        Some(folder) => (folder, true),
        None => (name, false),
    };
    for (name, folder) in names.iter().copied().map(split) {
        survey.see(name.as_bytes(), folder);
    }
    let selection = survey.finish("disk/data")?;
    let taken = names.iter().copied().map(split).filter(|(name, folder)| {
        let above = name.rfind('/').map_or("", |end| &name[..end]);
        let taken = selection.takes(name.as_bytes(), *folder);
        assert!(!taken || above.is_empty() || selection.enters(above.as_bytes()), "{name}");
        taken
    });
    Ok(taken.map(|(name, _)| name).collect())
}

#[test]
fn a_name_means_itself_and_what_lies_below_it() {
    let names = ["a//", "a/b", "a/c//", "a/c/d", "ab", "b"];
    for pattern in ["a", "/a", "a/", "./a", "/a/"] {
        assert_eq!(chosen(pattern, &names).unwrap(), ["a", "a/b", "a/c", "a/c/d"], "{pattern}");
    }
    assert_eq!(chosen("a/c/d", &names).unwrap(), ["a/c/d"]);
    assert_eq!(chosen("b", &names).unwrap(), ["b"]);
    for all in ["/", ".", ""] {
        assert_eq!(chosen(all, &names).unwrap().len(), names.len(), "{all:?}");
    }
    assert!(chosen("b/", &names).is_err(), "a file is no folder");
    assert!(chosen("", &[]).is_ok(), "everything, of nothing");
}

#[test]
fn stars_stop_at_slashes_and_what_a_matching_folder_holds_is_taken() {
    let names = ["a//", "a/1.jpg", "a/2.png", "a/x//", "a/x/3.jpg", "4.jpg"];
    assert_eq!(chosen("a/*.jpg", &names).unwrap(), ["a/1.jpg"]);
    assert_eq!(chosen("*.jpg", &names).unwrap(), ["4.jpg"]);
    assert_eq!(chosen("**/*.jpg", &names).unwrap(), ["a/1.jpg", "a/x/3.jpg", "4.jpg"]);
    assert_eq!(chosen("a/?", &names).unwrap(), ["a/x", "a/x/3.jpg"]);
    assert_eq!(chosen("/a/{1,2}.*", &names).unwrap(), ["a/1.jpg", "a/2.png"]);
    assert_eq!(chosen("*/", &names).unwrap(), ["a", "a/1.jpg", "a/2.png", "a/x", "a/x/3.jpg"]);
    assert!(chosen("b*", &names).is_err());
}

#[test]
fn a_name_that_exists_goes_before_a_pattern() {
    assert_eq!(chosen("a*", &["ab", "a*", "ac"]).unwrap(), ["a*"]);
    assert_eq!(chosen("a*", &["ab", "ac"]).unwrap(), ["ab", "ac"]);
    assert_eq!(chosen(r"a\*", &["ab", "a*"]).unwrap(), ["a*"]);
    assert_eq!(chosen("[x", &["[x", "x"]).unwrap(), ["[x"]);
    assert_eq!(chosen("/lead", &["/lead", "lead"]).unwrap(), ["/lead"]);
    assert_eq!(chosen("/lead", &["lead"]).unwrap(), ["lead"]);
    assert_eq!(chosen("lead", &["/lead", "lead"]).unwrap(), ["lead"]);
    assert_eq!(chosen("a//b", &["a//b", "a/b"]).unwrap(), ["a//b"]);
    assert_eq!(chosen("trail/", &["trail/", "trail"]).unwrap(), ["trail/"]);
    let error = chosen("[x", &["x"]).unwrap_err().to_string();
    assert!(error.contains("'[x', which is not a valid pattern either"), "{error}");
}

#[test]
fn what_is_not_there_is_an_error_that_names_the_nearest() {
    let says = |pattern: &str, part: &str| {
        let error = chosen(pattern, &["uploads//", "uploads/a.jpg", "notes.txt"]).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(error.contains("tik-backup ls 'disk/data'"), "{error}");
    };
    says("uplods/a.jpg", "did you mean 'uploads/a.jpg'?");
    says("uplods/zzzzz.jpg", "did you mean 'uploads'?");
    says("note.txt", "did you mean 'notes.txt'?");
    says("something else", "matches 'something else'");
    says("*.gif", "matches '*.gif'");
}

#[test]
fn what_the_snapshot_lacks_is_named_and_listed() {
    let survey = |pattern: &str| {
        let mut survey = Survey::new(&[pattern.into()]);
        survey.see(b"a/good", false);
        survey.lacks(b"a/bad", "it cannot be read");
        survey.lacks(b"locked", "it cannot be entered");
        survey
    };
    for (pattern, lack) in [("a/bad", "a/bad (it cannot be read)"), ("a/b*", "a/bad"), ("locked/x", "locked")]
    {
        let error = survey(pattern).finish("d/x").unwrap_err().to_string();
        assert!(error.contains(&format!("the snapshot lacks {lack}")) && error.contains("--at"), "{error}");
    }
    for above in [true, false] {
        assert!(survey("a/bad").finish_listing("d/x", above).unwrap().takes(b"a/bad", false));
    }
    assert!(survey("locked/x").finish_listing("d/x", true).unwrap().concerns(b"locked"));
    let error = survey("locked/x").finish_listing("d/x", false).unwrap_err().to_string();
    assert!(error.contains("the snapshot lacks locked (it cannot be entered)"), "{error}");
    let both = survey("a").finish("d/x").unwrap();
    assert!(both.takes(b"a/good", false) && both.concerns(b"a/bad") && !both.concerns(b"locked"));
}

#[test]
fn names_need_not_be_text() {
    let raw = OsString::from_vec(b"a\xff".to_vec());
    let mut survey = Survey::new(&[raw]);
    survey.see(b"a\xff", false);
    assert!(survey.finish("d/x").unwrap().takes(b"a\xff", false));
    assert_eq!(shown(b"a\xff\xc3\xa4"), "a\\xff\u{e4}");
    let mut survey = Survey::new(&["a?".into()]);
    survey.see(b"a\xff", false);
    assert!(survey.finish("d/x").unwrap().takes(b"a\xff", false), "a pattern finds them");
}
