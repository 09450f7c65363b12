//! Indexes of old servers, in a form that newer servers accept.
//!
//! Before version 3.4 servers accepted nearly any value in the keys of an index, and kept options that they did not know.
//! A conversion keeps what such an index did: a key was ascending unless its value was a negative number, and an option
//! that the server did not understand had no effect.

use mongodb::bson::{RawBsonRef, RawDocument, RawDocumentBuf, raw::CString};

use crate::error::{Error, Result};

/// Options that servers know, whose values are passed on as they are.
const KNOWN: [&str; 17] = [
    "2dsphereIndexVersion",
    "bits",
    "clustered",
    "coarsestIndexedLevel",
    "collation",
    "columnstoreProjection",
    "default_language",
    "finestIndexedLevel",
    "language_override",
    "max",
    "min",
    "name",
    "partialFilterExpression",
    "storageEngine",
    "textIndexVersion",
    "weights",
    "wildcardProjection",
];
/// Options that are on or off.
const FLAGS: [&str; 5] = ["background", "hidden", "prepareUnique", "sparse", "unique"];
/// Why an index on this type of key is not created.
const HAYSTACK: &str =
    "servers have no geoHaystack indexes since MongoDB 5.0: create a 2d or 2dsphere index for these queries";

/// The result for an index.
#[derive(Debug, PartialEq)]
pub(super) enum Converted {
    /// There is nothing to convert.
    Nothing,
    /// This definition, and how it differs.
    To(RawDocumentBuf, String),
    /// Newer servers do not support this index, with the reason.
    Gone(&'static str),
}

/// Converts the definition of an index that a server has refused.
///
/// # Errors
/// It is not valid BSON.
pub(super) fn convert(spec: &RawDocument) -> Result<Converted> {
    let mut changes = Vec::new();
    let mut converted = RawDocumentBuf::new();
    for field in spec.iter_elements() {
        let field = field.map_err(invalid)?;
        let (name, value) = (field.key().as_str(), field.value().map_err(invalid)?);
        match (name, value) {
            ("key", RawBsonRef::Document(key)) if is_haystack(key) => return Ok(Converted::Gone(HAYSTACK)),
            ("key", RawBsonRef::Document(key)) => {
                converted.append(CString::from(field.key()), convert_key(key, &mut changes)?);
            }
            _ => match convert_option(name, value) {
                None => changes.push(format!("without {name}")),
                Some(other) => {
                    if other != value {
                        changes.push(format!("{name} {} instead of {}", shown(other), shown(value)));
                    }
                    converted.append(CString::from(field.key()), other);
                }
            },
        }
    }
    Ok(if changes.is_empty() { Converted::Nothing } else { Converted::To(converted, changes.join(", ")) })
}

fn invalid(error: mongodb::bson::error::Error) -> Error {
    Error::failed("an index is not described in valid BSON").because(&error)
}

fn is_haystack(key: &RawDocument) -> bool {
    let mut fields = key.iter_elements().map_while(std::result::Result::ok);
    fields.any(|field| matches!(field.value(), Ok(RawBsonRef::String("geoHaystack"))))
}

fn convert_key(key: &RawDocument, changes: &mut Vec<String>) -> Result<RawDocumentBuf> {
    let mut converted = RawDocumentBuf::new();
    for field in key.iter_elements() {
        let field = field.map_err(invalid)?;
        let value = field.value().map_err(invalid)?;
        if is_key(value) {
            converted.append(CString::from(field.key()), value);
        } else {
            changes.push(format!("key {} 1 instead of {}", field.key(), shown(value)));
            converted.append(CString::from(field.key()), 1);
        }
    }
    Ok(converted)
}

/// Whether newer servers may accept this value in the keys of an index.
fn is_key(value: RawBsonRef<'_>) -> bool {
    match value {
        // The name of a type of index. A number as a text was none, and the key ascending.
        RawBsonRef::String(text) => !text.is_empty() && text.parse::<f64>().is_err(),
        value => number(value).is_some_and(|number| number != 0.0 && !number.is_nan()),
    }
}

/// The value of an option as newer servers accept it; nothing if it had no effect.
fn convert_option<'a>(name: &str, value: RawBsonRef<'a>) -> Option<RawBsonRef<'a>> {
    match (name, value) {
        ("v", value) => number(value).filter(|version| *version >= 2.0).map(|_| value),
        ("expireAfterSeconds", value) => match number(value)? {
            seconds if (0.0..=f64::from(i32::MAX)).contains(&seconds) => Some(value),
            // Nothing expired, and nothing must expire now.
            _ => Some(RawBsonRef::Int32(i32::MAX)),
        },
        (name, value) if FLAGS.contains(&name) => match value {
            RawBsonRef::Null | RawBsonRef::Undefined => None,
            RawBsonRef::Boolean(_) => Some(value),
            value if number(value).is_some() => Some(value),
            _ => Some(RawBsonRef::Boolean(true)),
        },
        (name, value) => KNOWN.contains(&name).then_some(value),
    }
}

fn number(value: RawBsonRef<'_>) -> Option<f64> {
    match value {
        RawBsonRef::Int32(number) => Some(f64::from(number)),
        RawBsonRef::Int64(number) => Some(number as f64),
        RawBsonRef::Double(number) => Some(number),
        RawBsonRef::Decimal128(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// A value for a message: only those that are short.
fn shown(value: RawBsonRef<'_>) -> String {
    match value {
        RawBsonRef::Boolean(flag) => flag.to_string(),
        RawBsonRef::String(text) if text.len() < 40 => format!("{text:?}"),
        value => match number(value) {
            Some(number) => number.to_string(),
            None => format!("a value of type {:?}", value.element_type()),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mongodb::bson::{RawBson, cstr, oid::ObjectId, rawdoc};

    fn converted(spec: &RawDocument) -> (RawDocumentBuf, String) {
        match convert(spec).unwrap() {
            Converted::To(spec, how) => (spec, how),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_newer_servers_accept_is_left_alone() {
        for spec in [
            rawdoc! { "v": 2, "key": { "a": 1, "b": -5.0, "c": 1_i64 }, "name": "x", "unique": true, "sparse": 1 },
            rawdoc! { "v": 2, "key": { "_fts": "text", "_ftsx": 1 }, "name": "t", "weights": { "a": 1 },
            "default_language": "english", "language_override": "language", "textIndexVersion": 3 },
            rawdoc! { "v": 2, "key": { "p": "2d" }, "name": "p", "bits": 26, "min": -180.0, "max": 180.0 },
            rawdoc! { "v": 2, "key": { "p": "2dsphere" }, "name": "p", "2dsphereIndexVersion": 3 },
            rawdoc! { "v": 2, "key": { "_id": "hashed" }, "name": "_id_hashed" },
            rawdoc! { "v": 2, "key": { "t": 1 }, "name": "t", "expireAfterSeconds": 3600, "hidden": true },
        ] {
            assert_eq!(convert(&spec).unwrap(), Converted::Nothing, "{spec:?}");
        }
    }

    #[test]
    fn a_key_that_is_no_number_or_zero_was_ascending() {
        let mut key =
            rawdoc! { "a": true, "b": 0, "c": 0.0, "d": "", "e": "1", "f": f64::NAN, "g": null, "h": {} };
        key.append(cstr!("i"), RawBson::ObjectId(ObjectId::from_bytes([1; 12])));
        key.append(cstr!("j"), RawBson::Decimal128("0".parse().unwrap()));
        key.append(cstr!("z"), -1);
        let mut spec = rawdoc! { "v": 2 };
        spec.append(cstr!("key"), key);
        spec.append(cstr!("name"), "old");
        let (now, how) = converted(&spec);
        let wanted = rawdoc! {
            "v": 2,
            "key": { "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "h": 1, "i": 1, "j": 1, "z": -1 },
            "name": "old"
        };
        assert_eq!(now, wanted);
        assert!(how.contains("key a 1 instead of true") && how.contains("key e 1 instead of \"1\""), "{how}");
        assert!(
            how.contains("key i 1 instead of a value of type ObjectId") && !how.contains("key z"),
            "{how}"
        );
    }

    #[test]
    fn options_without_effect_are_left_out_and_named() {
        let spec = rawdoc! {
            "v": 1, "key": { "a": 1 }, "name": "a_1", "safe": true, "dropDups": true, "bucketSize": 5, "w": 1,
            "background": "yes", "unique": "true", "sparse": null
        };
        let (now, how) = converted(&spec);
        let wanted = rawdoc! { "key": { "a": 1 }, "name": "a_1", "background": true, "unique": true };
        assert_eq!(now, wanted);
        for said in [
            "without v",
            "without safe",
            "without dropDups",
            "without bucketSize",
            "without w",
            "without sparse",
        ] {
            assert!(how.contains(said), "{said}: {how}");
        }
        assert!(how.contains("unique true instead of \"true\""), "{how}");
    }

    #[test]
    fn a_conversion_lets_nothing_expire() {
        let never = rawdoc! { "key": { "t": 1 }, "name": "t", "expireAfterSeconds": i32::MAX };
        for seconds in [f64::NAN, -1.0, 1e18] {
            let spec = rawdoc! { "key": { "t": 1 }, "name": "t", "expireAfterSeconds": seconds };
            assert_eq!(converted(&spec).0, never, "{seconds}");
        }
        let spec = rawdoc! { "key": { "t": 1 }, "name": "t", "expireAfterSeconds": "3600" };
        assert_eq!(converted(&spec).0, rawdoc! { "key": { "t": 1 }, "name": "t" });
    }

    #[test]
    fn an_index_that_newer_servers_no_longer_have_is_gone() {
        let spec = rawdoc! { "v": 1, "key": { "p": "geoHaystack", "k": 1 }, "name": "p", "bucketSize": 1 };
        assert_eq!(convert(&spec).unwrap(), Converted::Gone(HAYSTACK));
    }
}
