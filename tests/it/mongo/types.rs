//! Every type that a document can hold is restored bit for bit.

use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, JavaScriptCodeWithScope, RawBson, RawDocumentBuf, Regex, Timestamp,
    cstr, doc, oid::ObjectId, raw::CString, rawdoc, spec::BinarySubtype,
};
use testkit::{
    MongoServer, Tool,
    reports::{backup, item, restore},
    skip, skip_unless,
};

use super::{
    link::{assert_same, link, shown},
    support::{assert_stored, configured, full},
};

/// A document put together by hand: fields as type, key and the bytes of the value.
fn by_hand(fields: &[(u8, &str, &[u8])]) -> RawDocumentBuf {
    let mut bytes = vec![0; 4];
    for (kind, key, value) in fields {
        bytes.push(*kind);
        bytes.extend(key.bytes());
        bytes.push(0);
        bytes.extend(*value);
    }
    bytes.push(0);
    let length = i32::try_from(bytes.len()).unwrap().to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

fn values() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
    let stamp = |time, increment| Bson::Timestamp(Timestamp { time, increment });
    let mut deep = doc! { "end": 1 };
    for _ in 0..80 {
        deep = doc! { "d": deep };
    }
    let mut values: Vec<Bson> =
        [0.0, -0.0, 1.5, f64::MIN_POSITIVE / 2.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY]
            .map(Bson::Double)
            .to_vec();
    // Two that are not numbers, with other bits.
    values.extend([f64::NAN, f64::from_bits(0xfff8_0000_0000_1234)].map(Bson::Double));
    values.extend([i32::MIN, -1, 0, i32::MAX].map(Bson::Int32));
    values.extend([i64::MIN, -1, 0, i64::MAX].map(Bson::Int64));
    let texts = ["", "x\0y", "ünï ☃ 𝄞", "\u{feff}bom", "line\r\n\ttab \\ \" '"];
    values.extend(texts.map(Bson::from));
    values.push(Bson::String("long ".repeat(20_000)));
    values.extend(
        ["NaN", "Infinity", "-0", "0E-6176", "9.999999999999999999999999999999999E+6144", "1.10"]
            .map(decimal),
    );
    values.extend([
        Bson::Document(doc! {}),
        Bson::Document(deep),
        Bson::Array(Vec::new()),
        Bson::Array(vec![Bson::Null, Bson::Int32(1), Bson::Array(vec![Bson::MinKey]), Bson::from("s")]),
        binary(BinarySubtype::Generic, b""),
        binary(BinarySubtype::Function, b"\0\xff"),
        binary(BinarySubtype::BinaryOld, b"old"),
        binary(BinarySubtype::UuidOld, &[3; 16]),
        binary(BinarySubtype::Uuid, &[4; 16]),
        binary(BinarySubtype::Md5, &[5; 16]),
        binary(BinarySubtype::UserDefined(0x80), &[0; 300]),
        binary(BinarySubtype::UserDefined(0xff), b"x"),
        Bson::Undefined,
        Bson::ObjectId(ObjectId::from_bytes([0; 12])),
        Bson::ObjectId(ObjectId::from_bytes([0xff; 12])),
        Bson::Boolean(true),
        Bson::Boolean(false),
        Bson::DateTime(DateTime::MIN),
        Bson::DateTime(DateTime::MAX),
        Bson::DateTime(DateTime::from_millis(-1)),
        Bson::Null,
        Bson::RegularExpression(Regex { pattern: cstr!("^a/\\d\"$").into(), options: cstr!("im").into() }),
        Bson::RegularExpression(Regex { pattern: cstr!("").into(), options: cstr!("").into() }),
        Bson::JavaScriptCode("function() { return \"x\"; }".to_owned()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "f(n)".to_owned(),
            scope: doc! { "n": 1_i64 },
        }),
        Bson::Symbol("symbol".to_owned()),
        stamp(0, 0),
        stamp(0, 1),
        stamp(1, 0),
        stamp(u32::MAX, u32::MAX),
        Bson::MinKey,
        Bson::MaxKey,
    ]);
    values
}

/// Documents whose form is out of the ordinary.
pub fn forms() -> Vec<RawDocumentBuf> {
    let id = |n: i32| n.to_le_bytes();
    let pointer = [&5_i32.to_le_bytes()[..], b"db.c\0", &[7; 12]].concat();
    let (one, two) = (1_i32.to_le_bytes(), 2_i32.to_le_bytes());
    let stamp = Timestamp { time: 0, increment: 0 };
    vec![
        by_hand(&[(0x10, "_id", &id(1)), (0x10, "twice", &one), (0x10, "twice", &two), (0x0a, "twice", &[])]),
        by_hand(&[(0x10, "_id", &id(2)), (0x0c, "pointer", &pointer)]),
        by_hand(&[(0x10, "_id", &id(3)), (0x10, "", &one)]),
        by_hand(&[(0x10, "_id", &id(4)), (0x10, "a.b", &one), (0x10, "ünï ☃", &two), (0x10, "x y", &one)]),
        by_hand(&[(0x10, "_id", &id(5)), (0x08, "neither", &[1])]),
        rawdoc! { "_id": 6, "first": stamp, "second": stamp, "inner": { "stamp": stamp }, "list": [stamp] },
        rawdoc! { "_id": 7, "$inner": { "$set": 1, "$oid": "0102030405060708090a0b0c", "$date": "x" } },
        rawdoc! { "_id": 8, "z": 1, "a": 2, "Z": 3, "m": { "z": 1, "a": 2 } },
        // An array whose keys are not its positions.
        by_hand(&[
            (0x10, "_id", &id(9)),
            (0x04, "odd", by_hand(&[(0x10, "7", &one), (0x10, "x", &two)]).as_bytes()),
        ]),
        rawdoc! { "_id": 10 },
    ]
}

/// Ids of all types that may be one; the order is that of the server.
fn ids() -> Vec<RawDocumentBuf> {
    let binary = Binary { subtype: BinarySubtype::Uuid, bytes: vec![9; 16] };
    let ids = [
        Bson::MinKey,
        Bson::Null,
        Bson::Int32(1),
        Bson::Int64(1 << 40),
        Bson::Double(2.5),
        Bson::Double(f64::NAN),
        Bson::Decimal128("3.5".parse().unwrap()),
        Bson::from("text"),
        Bson::from(""),
        Bson::Document(doc! { "b": 1, "a": 2 }),
        Bson::Document(doc! { "a": 2, "b": 1 }),
        Bson::Binary(binary),
        Bson::ObjectId(ObjectId::from_bytes([1; 12])),
        Bson::Boolean(false),
        Bson::DateTime(DateTime::from_millis(0)),
        Bson::Timestamp(Timestamp { time: 1, increment: 1 }),
        Bson::MaxKey,
    ];
    ids.into_iter()
        .map(|id| {
            let mut document = RawDocumentBuf::new();
            document.append(cstr!("_id"), RawBson::try_from(id).unwrap());
            document.append(cstr!("more"), 1);
            document
        })
        .collect()
}

#[test]
fn every_type_comes_back_bit_for_bit() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    let values: Vec<_> = values()
        .into_iter()
        .enumerate()
        .map(|(id, value)| {
            let mut document = rawdoc! { "_id": id as i32 };
            let value = RawBson::try_from(value).unwrap();
            document.append(CString::try_from(format!("v{id}")).unwrap(), value.clone());
            document.append(cstr!("inner"), {
                let mut inner = RawDocumentBuf::new();
                inner.append(cstr!("v"), value);
                inner
            });
            document
        })
        .collect();
    let (forms, ids) = (forms(), ids());
    for (name, documents) in [("values", &values), ("forms", &forms), ("ids", &ids)] {
        link.insert("types", name, documents);
    }
    let before = link.content("types");
    // What the server itself changes on the way in would prove nothing about us.
    for (name, documents) in [("values", &values), ("forms", &forms)] {
        let pairs = before[name].documents.iter().zip(documents);
        for (found, sent) in pairs.filter(|(found, sent)| found.as_bytes() != sent.as_bytes()) {
            skip(&format!("a server that does not change {} to {}", shown(sent), shown(found)));
        }
    }
    assert_eq!(before["ids"].documents.len(), ids.len());

    let config = configured(&server, "");
    let report = backup(&config);
    // A busy server of the tests may lose the moment that it gave; the content is the same.
    let notes = item(&report, "types")["notes"].as_array().cloned().unwrap_or_default();
    let expected = |note: &serde_json::Value| {
        note.as_str().is_some_and(|note| note.contains("had no snapshot (any more)"))
    };
    assert!(notes.iter().all(expected), "{report:#}");
    assert_stored(&config, "types", "values", &values);
    assert_stored(&config, "types", "forms", &before["forms"].documents);
    assert_stored(&config, "types", "ids", &ids);
    let restored = restore(&config, &full("types"), &["--into", "types_again"]);
    assert_eq!(restored["rows"], values.len() + forms.len() + ids.len(), "{restored}");
    assert_same(&link.content("types_again"), &before);
}
