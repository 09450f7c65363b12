//! The interface of the suite to servers of all kinds.

use testkit::{Config, ConfigBuilder, reports::ready, running::Hold};

/// The name of the source in configurations made here.
pub const SOURCE: &str = "source";

/// The secret in the configuration of each kind.
pub const SECRET: &str = "S3cret-9a41-of-the-source";

/// A running server whose items can be created and read without the program.
pub trait Subject {
    /// Its kind in a configuration.
    fn kind(&self) -> &'static str;

    /// Adds the server as [`SOURCE`], with these further lines.
    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder;

    /// Creates an item that holds these texts, a row or document each.
    fn create(&self, item: &str, texts: &[String]);

    /// Creates an item that holds no data.
    fn create_empty(&self, item: &str);

    /// Adds one row or document.
    fn add(&self, item: &str, text: &str);

    /// Removes an item.
    fn remove(&self, item: &str);

    /// The content of an item as text, equal for items with equal content.
    fn content(&self, item: &str) -> String;

    /// Names that are hard to carry through files, arguments and queries, as far as the server allows them.
    fn odd_names(&self) -> Vec<&'static str>;

    /// The argument of `--into` that restores into an item of this server.
    fn into(&self, item: &str) -> String;

    /// From now on the dump of this large item breaks off in the middle.
    fn break_off(&self, item: &str);

    /// Undoes [`Self::break_off`].
    fn heal(&self, item: &str);

    /// Holds the next dump of this item in the middle, if there is a way.
    fn hold(&self, item: &str) -> Option<Hold>;

    /// Whether two dumps of the same data have the same bytes. If not, the difference is a block of the repository at most,
    /// which is all of a small item.
    fn repeats_itself(&self) -> bool {
        true
    }

    /// Whether the server also has an item for its globals.
    fn has_globals(&self) -> bool {
        true
    }
}

/// A configuration of the subject alone, with a repository that exists.
pub fn configured(subject: &dyn Subject, more: &str, tables: &str) -> Config {
    ready(subject.add_to(ConfigBuilder::new().tables(tables), more))
}

/// The full name of an item.
pub fn full(item: &str) -> String {
    format!("{SOURCE}/{item}")
}

/// Texts of about 200 bytes each that do not compress well, the same each time.
pub fn texts(count: usize) -> Vec<String> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = |n: usize| {
        let words = (0..12).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        });
        format!("{n} {}", words.collect::<String>())
    };
    let mut all: Vec<_> = (0..count).map(&mut text).collect();
    all.extend(["", "it's", "\"q\" \\ back\\", "tab\tand\nline", "größe ☃ 😀"].map(str::to_owned));
    all
}
