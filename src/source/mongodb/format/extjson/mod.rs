//! Canonical Extended JSON v2, byte for byte as the Go driver writes it, which stock mongodump uses.

mod node;
mod read;
mod write;

use crate::error::Error;

pub(super) use self::{node::Node, read::document_of, write::write_text};
pub use self::{read::parse_document, write::write_document};

fn invalid(error: &mongodb::bson::error::Error) -> Error {
    Error::failed("not valid BSON").because(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mongodb::bson::{
        Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, RawDocument, RawDocumentBuf, Regex,
        Timestamp, cstr, doc, oid::ObjectId, spec::BinarySubtype,
    };

    fn json(document: &RawDocument) -> String {
        let mut out = Vec::new();
        write_document(document, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    #[test]
    fn every_type_is_written_and_read_back() {
        let scope = Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "f(\"x\")".to_owned(),
            scope: doc! { "n": 1_i64 },
        });
        let pattern = Regex { pattern: cstr!("^a/\"").into(), options: cstr!("im").into() };
        let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
        for (value, text) in [
            (Bson::Int32(-7), r#"{"$numberInt":"-7"}"#),
            (Bson::Int64(i64::MIN), r#"{"$numberLong":"-9223372036854775808"}"#),
            (Bson::Boolean(true), "true"),
            (Bson::Null, "null"),
            (Bson::Undefined, r#"{"$undefined":true}"#),
            (Bson::MinKey, r#"{"$minKey":1}"#),
            (Bson::MaxKey, r#"{"$maxKey":1}"#),
            (Bson::Symbol("s".into()), r#"{"$symbol":"s"}"#),
            (Bson::JavaScriptCode("f()".into()), r#"{"$code":"f()"}"#),
            (scope, r#"{"$code":"f(\"x\")","$scope":{"n":{"$numberLong":"1"}}}"#),
            (
                Bson::RegularExpression(pattern),
                r#"{"$regularExpression":{"pattern":"^a/\"","options":"im"}}"#,
            ),
            (
                Bson::Timestamp(Timestamp { time: u32::MAX, increment: 1 }),
                r#"{"$timestamp":{"t":4294967295,"i":1}}"#,
            ),
            (Bson::DateTime(DateTime::from_millis(-1)), r#"{"$date":{"$numberLong":"-1"}}"#),
            (Bson::ObjectId(ObjectId::from_bytes([0xab; 12])), r#"{"$oid":"abababababababababababab"}"#),
            (
                Bson::Binary(binary(BinarySubtype::Uuid, &[1; 16])),
                r#"{"$binary":{"base64":"AQEBAQEBAQEBAQEBAQEBAQ==","subType":"04"}}"#,
            ),
            (
                Bson::Binary(binary(BinarySubtype::BinaryOld, b"abc")),
                r#"{"$binary":{"base64":"YWJj","subType":"02"}}"#,
            ),
            (
                Bson::Binary(binary(BinarySubtype::UserDefined(0x80), b"")),
                r#"{"$binary":{"base64":"","subType":"80"}}"#,
            ),
            (Bson::Decimal128("1.50E+10".parse().unwrap()), r#"{"$numberDecimal":"1.50E+10"}"#),
            (Bson::Array(vec![Bson::Int32(1), Bson::Array(vec![])]), r#"[{"$numberInt":"1"},[]]"#),
        ] {
            let document = raw(&doc! { "v": value });
            let expected = format!("{{\"v\":{text}}}");
            assert_eq!(json(&document), expected);
            assert_eq!(parse_document(expected.as_bytes()).unwrap(), document, "{expected}");
        }
    }

    #[test]
    fn a_database_pointer_and_a_key_that_occurs_twice_survive() {
        let pointer = r#"{"$dbPointer":{"$ref":"a.b","$id":{"$oid":"0102030405060708090a0b0c"}}}"#;
        let text = format!(r#"{{"p":{pointer},"p":{{"p":null,"p":1}}}}"#);
        let document = parse_document(text.as_bytes()).unwrap();
        assert_eq!(document.iter_elements().count(), 2);
        assert_eq!(json(&document), text.replace(":1}", r#":{"$numberInt":"1"}}"#));
    }

    #[test]
    fn doubles_are_written_as_go_does() {
        // As strconv.FormatFloat(x, 'G', -1, 64) has them, with ".0" where there is neither point nor exponent.
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (100_000.0, "100000.0"),
            (123_456.75, "123456.75"),
            (1_000_000.0, "1E+06"),
            (1_234_567.5, "1.2345675E+06"),
            (0.0001, "0.0001"),
            (0.00001, "1E-05"),
            (1e21, "1E+21"),
            (1.5e-300, "1.5E-300"),
            (f64::MAX, "1.7976931348623157E+308"),
            (5e-324, "5E-324"),
            (0.1, "0.1"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            let document = raw(&doc! { "v": number });
            let expected = format!(r#"{{"v":{{"$numberDouble":"{text}"}}}}"#);
            assert_eq!(json(&document), expected);
            assert_eq!(parse_document(expected.as_bytes()).unwrap(), document, "{text}");
        }
    }

    #[test]
    fn strings_and_keys_are_escaped_as_the_go_driver_does() {
        let text = "<a>&'\u{2028}\u{2029}\u{7f}\n\r\t\u{8}\u{c}\u{1}\"\\ü😀/";
        let expected = r#""<a>&'\u2028\u2029"#.to_owned() + "\u{7f}" + r#"\n\r\t\b\f\u0001\"\\ü😀/""#;
        let document = raw(&doc! { text: text });
        assert_eq!(json(&document), format!("{{{expected}:{expected}}}"));
        assert_eq!(parse_document(json(&document).as_bytes()).unwrap(), document);
    }

    #[test]
    fn relaxed_forms_are_read() {
        let read =
            parse_document(br#"{"v":2,"l":5000000000,"d":1.5,"t":{"$date":"2026-01-02T03:04:05.678Z"}}"#)
                .unwrap();
        let date = DateTime::from_millis(1_767_323_045_678);
        assert_eq!(read, raw(&doc! { "v": 2, "l": 5_000_000_000_i64, "d": 1.5, "t": date }));
        let operators = r#"{"a":{"$regex":"^x","$options":"i"},"b":{"$gt":"x"},"c":{"$type":"int"}}"#;
        assert_eq!(
            json(&parse_document(operators.as_bytes()).unwrap()),
            operators,
            "operators stay documents"
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a":{"$numberInt":"x"}}"#,
            r#"{"a":{"$numberInt":"3000000000"}}"#,
            r#"{"a":{"$oid":"12"}}"#,
            r#"{"a":{"$date":"yesterday"}}"#,
            r#"{"a":{"$binary":{"base64":"!","subType":"00"}}}"#,
            r#"{"a":{"$binary":{"base64":""}}}"#,
            r#"{"a":{"$timestamp":{"t":-1,"i":0}}}"#,
            "{\"a\\u0000b\":1}",
        ] {
            assert!(parse_document(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(parse_document(deep.as_bytes()).is_err(), "and not a crash");
    }
}
