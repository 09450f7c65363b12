//! The kinds of sources. What the rest of the program needs to know of a kind, it asks through [`Kind`]; a new kind is a
//! folder beside the others and one line in [`KINDS`].

use super::manifest::Detail;

/// A kind of source.
pub trait Kind: Sync {
    /// Its name, as written in the configuration and in manifests.
    fn name(&self) -> &'static str;

    /// The key under which its part stands in `manifest.json`. Neither another kind nor a field of all manifests has it.
    fn detail_key(&self) -> &'static str;

    /// Reads its part of `manifest.json`, which earlier versions may have written.
    ///
    /// # Errors
    /// It is not what this kind writes.
    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Option<Box<dyn Detail>>, erased_serde::Error>;
}

/// All kinds, in the order in which documents list them.
pub static KINDS: [&dyn Kind; 5] = [
    &super::postgres::KIND,
    &super::mysql::KIND,
    &super::mongodb::KIND,
    &super::azure::KIND,
    &super::directory::KIND,
];

/// The kind of this name.
pub fn kind_named(name: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}
