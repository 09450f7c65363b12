//! The interface of the suite to servers, accounts and directories of all kinds.

use serde_json::Value;
use testkit::{
    Config, ConfigBuilder,
    reports::{manifest_of, ready},
    running::Hold,
    skip,
};

/// The name of the source in configurations made here.
pub const SOURCE: &str = "source";

/// The secret in the configuration of each kind whose server takes one of the test's choice.
pub const SECRET: &str = "S3cret-9a41-of-the-source";

/// What a part of a contract needs of a kind, or in one sentence why the kind does not have it. [`offered`] reports the reason.
pub type Offer<T> = Result<T, &'static str>;

/// A server, an account or a directory whose items can be created and read without the program.
pub trait Subject {
    /// Its kind in a configuration.
    fn kind(&self) -> &'static str;

    /// Adds it as [`SOURCE`], with these further lines.
    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder;

    /// The secrets in the files that the configuration of the source names.
    fn secrets(&self) -> Offer<Vec<String>> {
        Ok(vec![SECRET.to_owned()])
    }

    /// Secrets that the program gets from the server. They are in no file.
    fn received_secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// The name that the source gives to the item that this suite calls `item`.
    fn name(&self, item: &str) -> String {
        item.to_owned()
    }

    /// Creates an item that holds these texts, as rows, documents or files.
    fn create(&self, item: &str, texts: &[String]);

    /// How many rows, documents or files an item of so many texts has.
    fn rows(&self, texts: usize) -> usize {
        texts
    }

    /// Creates an item that holds no data.
    fn create_empty(&self, item: &str);

    /// Adds one row, document or file.
    fn add(&self, item: &str, text: &str);

    /// Removes an item.
    fn remove(&self, item: &str);

    /// The content of an item as text, equal for items with equal content.
    fn content(&self, item: &str) -> String;

    /// Names that are hard to carry through files, arguments and queries, as far as the kind allows them.
    fn odd_names(&self) -> Vec<&'static str>;

    /// The configuration line that excludes the items that match a pattern, and the rule that `discover` shows for them.
    fn exclusion(&self, pattern: &str) -> Offer<(String, String)> {
        Ok((format!("exclude = [\"{pattern}\"]"), format!("exclude = \"{pattern}\"")))
    }

    /// The beginning of the rule that `discover` shows for what is there and is never backed up.
    fn never_backed_up(&self) -> Offer<&'static str> {
        Ok("built-in")
    }

    /// Whether discovery knows how large an item is.
    fn has_estimates(&self) -> bool {
        true
    }

    /// The argument that restores into an item of this subject.
    fn into(&self, item: &str) -> String;

    /// The part of a restore's report that this kind fills in.
    fn report(&self) -> Report {
        DATABASE
    }

    /// The exit code of a restore into an item that exists.
    fn code_if_occupied(&self) -> i32 {
        1
    }

    /// Whether `--to` restores the item as it was, without the manifest.
    fn is_restored_as_it_was(&self) -> bool {
        false
    }

    /// The manifest of a snapshot of an item.
    fn manifest(&self, config: &Config, item: &str, snapshot: &str) -> Value {
        manifest_of(config, &self.full(item), snapshot)
    }

    /// From now on the dump of this large item fails: in the middle, where the kind has one.
    fn break_off(&self, item: &str);

    /// Undoes [`Self::break_off`].
    fn heal(&self, item: &str);

    /// Holds the next dump of this item in the middle.
    fn hold(&self, item: &str) -> Offer<Hold>;

    /// Whether tools of the server dump it.
    fn has_tools(&self) -> Offer<()> {
        Ok(())
    }

    /// Whether two dumps of the same data have the same bytes. If not, the difference is a block of the repository at most,
    /// which is all of a small item.
    fn repeats_itself(&self) -> bool {
        true
    }

    /// Whether the server also has an item for its globals.
    fn has_globals(&self) -> bool {
        false
    }

    /// The full name of an item.
    fn full(&self, item: &str) -> String {
        format!("{SOURCE}/{}", self.name(item))
    }
}

/// The keys of a part of a restore's report.
pub struct Report {
    /// The part.
    pub part: &'static str,
    /// The name of what was restored into; `None` if only the user names it.
    pub target: Option<&'static str>,
    /// The number of rows, documents or files.
    pub rows: &'static str,
    /// The number of tables or collections.
    pub tables: Option<&'static str>,
}

/// The report of a restored database.
pub const DATABASE: Report =
    Report { part: "database", target: Some("database"), rows: "rows", tables: Some("tables") };

/// What a part of a contract needs of the kind. If the kind does not have it, this part does not run, and is listed with the
/// reason among the skipped tests.
pub fn offered<T>(what: &str, offer: Offer<T>) -> Option<T> {
    offer
        .inspect_err(|reason| skip(&format!("{what} for one of its parts, which is left out: {reason}")))
        .ok()
}

/// A configuration of the subject alone, with a repository that exists.
pub fn configured(subject: &dyn Subject, more: &str, tables: &str) -> Config {
    ready(subject.add_to(ConfigBuilder::new().tables(tables), more))
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
