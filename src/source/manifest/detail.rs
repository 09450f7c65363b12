//! The kind-specific part of a manifest: each kind of source has its own type, stored in
//! the JSON under its own key.

use std::{any::Any, cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{Manifest, Partitioned};
use crate::source::kind::{KINDS, Kind};

/// One kind's part of a manifest.
pub trait Detail: Any + fmt::Debug + erased_serde::Serialize + Send + Sync {
    /// The kind of source that this part belongs to.
    fn kind(&self) -> &'static dyn Kind;

    /// A copy.
    fn boxed(&self) -> Box<dyn Detail>;

    /// Removes the definitions for which `is_omitted` (kind, schema, name) reports that the object is not in the backup.
    fn forget(&mut self, _is_omitted: &dyn Fn(&str, &str, &str) -> bool) {}

    /// Whether the item consists of files or blobs, which the manifest does not list individually: the sum of their bytes
    /// is recorded with the single object.
    fn is_of_files(&self) -> bool {
        false
    }

    /// The number of files, if the rows of the object count directories too.
    fn files(&self) -> Option<u64> {
        None
    }

    /// Tables whose rows are in their partitions.
    fn partitioned(&self) -> &[Partitioned] {
        &[]
    }

    /// Passes on the parts that belong to the content and are equal if the content is equal, always in the same order.
    fn content(&self, _visit: &mut dyn FnMut(&dyn erased_serde::Serialize)) {}
}

erased_serde::serialize_trait_object!(Detail);

/// Reads the JSON of a kind's part, for [`Kind::read_detail`].
///
/// # Errors
/// It is not valid JSON of `T`.
pub(in crate::source) fn read<T: Detail + DeserializeOwned>(
    json: &mut dyn erased_serde::Deserializer<'_>,
) -> Result<Option<Box<dyn Detail>>, erased_serde::Error> {
    let detail: Option<T> = erased_serde::deserialize(json)?;
    Ok(detail.map(|detail| Box::new(detail) as Box<dyn Detail>))
}

/// The part of the manifest's own kind, if it has one.
#[derive(Debug, Default)]
pub(in crate::source) struct Own(Option<Box<dyn Detail>>);

impl Clone for Own {
    fn clone(&self) -> Self {
        Self(self.0.as_deref().map(Detail::boxed))
    }
}

impl Serialize for Own {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(usize::from(self.0.is_some())))?;
        if let Some(detail) = &self.0 {
            map.serialize_entry(detail.kind().detail_key(), detail)?;
        }
        map.end()
    }
}

impl Manifest {
    /// The part of its kind, for any kind.
    pub fn any_detail(&self) -> Option<&dyn Detail> {
        self.own.0.as_deref()
    }

    /// Like [`Self::any_detail`], mutable.
    pub(super) fn any_detail_mut(&mut self) -> Option<&mut dyn Detail> {
        // `as_deref_mut` would require a longer lifetime of the boxed value.
        match &mut self.own.0 {
            Some(detail) => Some(detail.as_mut()),
            None => None,
        }
    }

    /// The part of one kind, if the manifest is of this kind.
    pub(crate) fn detail<T: Detail>(&self) -> Option<&T> {
        let any: &dyn Any = self.own.0.as_deref()?;
        any.downcast_ref()
    }

    /// Like [`Self::detail`], mutable.
    pub(crate) fn detail_mut<T: Detail>(&mut self) -> Option<&mut T> {
        let any: &mut dyn Any = self.own.0.as_deref_mut()?;
        any.downcast_mut()
    }

    /// Like [`Self::detail`], without the rest of the manifest.
    pub(crate) fn into_detail<T: Detail>(self) -> Option<T> {
        let any: Box<dyn Any> = self.own.0?;
        any.downcast().ok().map(|detail| *detail)
    }

    /// Sets the part of its kind.
    pub(crate) fn set_detail(&mut self, detail: impl Detail) {
        self.own.0 = Some(Box::new(detail));
    }

    /// Removes the part of its kind, as if an earlier version had written the manifest.
    #[cfg(test)]
    pub(crate) fn forget_detail(&mut self) {
        self.own.0 = None;
    }
}

// `#[serde(flatten)]` would hold the whole manifest in memory a second time while it is read, to look for the key of a kind
// at the end. Here the keys are read in order, and their values are stored directly: the derived
// code, of which `remote` makes functions of the same names, sees all keys except those of the kinds.
impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let own = Cell::new(None);
        let mut manifest = Self::deserialize(WithOwn { inner: deserializer, own: &own })?;
        manifest.own = Own(own.into_inner());
        Ok(manifest)
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// A deserializer that takes the keys of a kind out of the input.
struct WithOwn<'a, T> {
    inner: T,
    own: &'a Cell<Option<Box<dyn Detail>>>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for WithOwn<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(WithOwn { inner: visitor, own: self.own })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for WithOwn<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(WithOwn { inner: map, own: self.own })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithOwn<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, mut seed: S) -> Result<Option<S::Value>, A::Error> {
        loop {
            match self.inner.next_key_seed(KeySeed(seed))? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Own(kind, unused)) => {
                    seed = unused;
                    let read = self.inner.next_value_seed(OwnSeed(kind))?;
                    let before = self.own.take();
                    if before.is_some() && read.is_some() {
                        return Err(A::Error::custom(format_args!(
                            "`{}` is one part of a kind too many",
                            kind.detail_key()
                        )));
                    }
                    self.own.set(read.or(before));
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}

/// A key of the manifest.
enum Key<S, T> {
    /// The key of a kind's part, and the seed for other keys.
    Own(&'static dyn Kind, S),
    /// Any other key, as the derived code reads it.
    Other(T),
}

struct KeySeed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<S> {
    type Value = Key<S, S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for KeySeed<S> {
    type Value = Key<S, S::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        match KINDS.iter().copied().find(|kind| kind.detail_key() == name) {
            Some(kind) => Ok(Key::Own(kind, self.0)),
            None => self.0.deserialize(name.into_deserializer()).map(Key::Other),
        }
    }
}

/// Reads the part of a kind.
struct OwnSeed(&'static dyn Kind);

impl<'de> DeserializeSeed<'de> for OwnSeed {
    type Value = Option<Box<dyn Detail>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(deserializer);
        self.0.read_detail(&mut erased).map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::{directory, mongodb, mysql, postgres};

    /// A manifest as earlier versions wrote it, with this at its end.
    fn stored(end: &str) -> String {
        let manifest = Manifest::begin("pg", "shop", "postgres");
        let json = String::from_utf8(manifest.to_json().unwrap()).unwrap();
        format!("{},\n{end}\n}}\n", json.strip_suffix("\n}\n").unwrap())
    }

    const MYSQL: &str = r#"  "mysql": {
    "flavour": "mysql",
    "lower_case_table_names": 0,
    "schema_objects": []
  }"#;

    #[test]
    fn what_is_read_is_written_again_byte_for_byte() {
        let postgres = r#"  "postgres": {
    "large_objects": {
      "count": 0,
      "bytes": 0,
      "digest": "00000000000000000000000000000000"
    },
    "role_passwords": true
  }"#;
        for json in [stored(MYSQL), stored(postgres)] {
            let manifest = Manifest::from_json(json.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(manifest.to_json().unwrap()).unwrap(), json);
            assert_eq!(String::from_utf8(manifest.clone().to_json().unwrap()).unwrap(), json);
            // Without a text to read it from, the same comes out.
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            let manifest: Manifest = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&manifest).unwrap(), value);
        }
    }

    #[test]
    fn only_the_kind_that_the_part_belongs_to_sees_it() {
        let mut manifest = Manifest::from_json(stored(MYSQL).as_bytes()).unwrap();
        assert!(manifest.detail::<postgres::Detail>().is_none());
        assert_eq!(manifest.detail::<mysql::Detail>().unwrap().lower_case_table_names, 0);
        manifest.detail_mut::<mysql::Detail>().unwrap().lower_case_table_names = 2;
        assert!(manifest.clone().into_detail::<mongodb::Detail>().is_none());
        assert_eq!(manifest.into_detail::<mysql::Detail>().unwrap().lower_case_table_names, 2);
    }

    #[test]
    fn keys_of_later_versions_are_passed_over_wherever_they_stand() {
        let json = stored(&format!(
            "  \"later\": {{\"a\": [1, {{\"mysql\": 7}}]}},\n{MYSQL},\n  \"postgres\": null,\n  \"more\": 1"
        ));
        let manifest = Manifest::from_json(json.as_bytes()).unwrap();
        assert!(manifest.detail::<mysql::Detail>().is_some());
        // The order is no promise.
        let first = format!(
            "{{{MYSQL},{}",
            stored(MYSQL).replace(&format!(",\n{MYSQL}"), "").trim_start_matches('{')
        );
        assert!(Manifest::from_json(first.as_bytes()).unwrap().detail::<mysql::Detail>().is_some());
    }

    #[test]
    fn what_is_wrong_in_a_part_is_said_with_its_place() {
        let wrong = MYSQL.replace(": 0", ": true");
        let error = Manifest::from_json(stored(&wrong).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("invalid type: boolean `true`") && error.contains(" line "), "{error}");
        let error = Manifest::from_json(stored(&format!("{MYSQL},\n{MYSQL}")).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("`mysql`"), "{error}");
        let error = Manifest::from_json(b"[1]").unwrap_err().to_string();
        assert!(error.contains("invalid type: sequence"), "{error}");
    }

    #[test]
    fn no_kind_has_the_key_of_another_or_of_all_manifests() {
        let manifest = serde_json::to_value(Manifest::begin("pg", "shop", "postgres")).unwrap();
        let mut keys: Vec<&str> = KINDS.iter().map(|kind| kind.detail_key()).collect();
        let always = ["notes", "left_out", "omitted", "excluded"];
        assert!(keys.iter().all(|key| manifest.get(key).is_none() && !always.contains(key)));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), KINDS.len());
        let mut manifest = Manifest::begin("files", "home", "directory");
        manifest.set_detail(directory::Detail::default());
        let detail = manifest.any_detail().unwrap();
        assert_eq!(
            (detail.kind().name(), detail.is_of_files(), detail.files()),
            ("directory", true, Some(0))
        );
    }
}
