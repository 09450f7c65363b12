//! The kinds of sources. What the rest of the program needs to know of a kind, it asks through [`Kind`]; a new kind is a
//! folder beside the others and one line in [`KINDS`].

/// A kind of source.
pub trait Kind: Sync {
    /// Its name, as written in the configuration and in manifests.
    fn name(&self) -> &'static str;
}

/// All kinds, in the order in which documents list them.
pub static KINDS: [&dyn Kind; 5] = [
    &super::postgres::kind::KIND,
    &super::mysql::kind::KIND,
    &super::mongodb::kind::KIND,
    &super::azure::kind::KIND,
    &super::directory::kind::KIND,
];

/// The kind of this name.
pub fn kind_named(name: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}
