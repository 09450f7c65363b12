//! How texts are laid out in items that consist of files.

/// A directory of each item; a failure in it comes after the files beside it.
pub const LATE: &str = "late";
/// A file in it, which every item with texts has.
pub const LATE_FILE: &str = "late/0005.txt";
/// Names that a path or an address could spoil.
const ODD: [&str; 4] = ["größe ☃.txt", "--clean", "a+b#c & d", "50% off"];
/// Texts in a file of a large item, so that it does not have thousands of files.
const TOGETHER: usize = 10;
/// An item with more texts than this is a large one.
const SMALL: usize = 100;

fn texts_a_file(texts: usize) -> usize {
    if texts > SMALL { TOGETHER } else { 1 }
}

/// The number of files of so many texts.
pub fn count(texts: usize) -> usize {
    texts.div_ceil(texts_a_file(texts))
}

/// The files of an item with these texts: name and content.
pub fn of(texts: &[String]) -> Vec<(String, String)> {
    let contents = texts.chunks(texts_a_file(texts.len())).map(|texts| texts.join("\n"));
    contents.enumerate().map(|(at, content)| (name(at), content)).collect()
}

fn name(at: usize) -> String {
    match ODD.get(at) {
        Some(odd) => (*odd).to_owned(),
        None if at % 2 == 1 => format!("{LATE}/{at:04}.txt"),
        None => format!("{at:04}.txt"),
    }
}
