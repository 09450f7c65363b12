//! From BSON to JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use mongodb::bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf, oid::ObjectId};

use super::invalid;
use crate::error::{Error, Result};

/// Writes a document.
///
/// # Errors
/// The document is not valid BSON.
pub fn write_document(document: &RawDocument, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'{');
    for (position, element) in document.iter_elements().enumerate() {
        let element = element.map_err(|error| invalid(&error))?;
        if position > 0 {
            out.push(b',');
        }
        write_text(element.key().as_str(), out);
        out.push(b':');
        write_value(element.value().map_err(|error| invalid(&error))?, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a string with the escapes of JSON and the Go driver: control characters, and the two line ends of Unicode.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend([b'\\', character as u8]),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\u{8}' => out.extend(b"\\b"),
            '\u{c}' => out.extend(b"\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                out.extend(format!("\\u{:04x}", u32::from(character)).bytes());
            }
            other => out.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    out.push(b'"');
}

fn write_value(value: RawBsonRef<'_>, out: &mut Vec<u8>) -> Result<()> {
    match value {
        RawBsonRef::Document(document) => return write_document(document, out),
        RawBsonRef::Array(array) => return write_array(array, out),
        RawBsonRef::String(text) => write_text(text, out),
        RawBsonRef::Boolean(flag) => out.extend(flag.to_string().bytes()),
        RawBsonRef::Null => out.extend(b"null"),
        RawBsonRef::Double(number) => write_plain("$numberDouble", &double(number), out),
        RawBsonRef::Int32(number) => write_plain("$numberInt", &number.to_string(), out),
        RawBsonRef::Int64(number) => write_plain("$numberLong", &number.to_string(), out),
        RawBsonRef::Decimal128(number) => write_plain("$numberDecimal", &number.to_string(), out),
        RawBsonRef::ObjectId(id) => write_plain("$oid", &id.to_hex(), out),
        RawBsonRef::Symbol(text) => wrap("$symbol", out, |out| write_text(text, out)),
        RawBsonRef::JavaScriptCode(code) => wrap("$code", out, |out| write_text(code, out)),
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            out.extend(b"{\"$code\":");
            write_text(code.code, out);
            out.extend(b",\"$scope\":");
            write_document(code.scope, out)?;
            out.push(b'}');
        }
        RawBsonRef::DateTime(date) => {
            wrap("$date", out, |out| write_plain("$numberLong", &date.timestamp_millis().to_string(), out));
        }
        RawBsonRef::Timestamp(stamp) => {
            let (time, increment) = (stamp.time, stamp.increment);
            out.extend(format!("{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}").bytes());
        }
        RawBsonRef::Binary(binary) => {
            let (content, subtype) = (STANDARD.encode(binary.bytes), u8::from(binary.subtype));
            let text = format!("{{\"$binary\":{{\"base64\":\"{content}\",\"subType\":\"{subtype:02x}\"}}}}");
            out.extend(text.bytes());
        }
        RawBsonRef::RegularExpression(regex) => wrap("$regularExpression", out, |out| {
            out.extend(b"{\"pattern\":");
            write_text(regex.pattern.as_str(), out);
            out.extend(b",\"options\":");
            write_text(regex.options.as_str(), out);
            out.push(b'}');
        }),
        RawBsonRef::MinKey => out.extend(b"{\"$minKey\":1}"),
        RawBsonRef::MaxKey => out.extend(b"{\"$maxKey\":1}"),
        RawBsonRef::Undefined => out.extend(b"{\"$undefined\":true}"),
        RawBsonRef::DbPointer(_) => write_pointer(value, out)?,
    }
    Ok(())
}

fn write_array(array: &RawArray, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'[');
    for (position, value) in array.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_value(value.map_err(|error| invalid(&error))?, out)?;
    }
    out.push(b']');
    Ok(())
}

/// A value as an object with one key.
fn wrap(key: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'{');
    write_text(key, out);
    out.push(b':');
    value(out);
    out.push(b'}');
}

fn write_plain(key: &str, text: &str, out: &mut Vec<u8>) {
    wrap(key, out, |out| write_text(text, out));
}

/// The crate does not expose the parts of a database pointer, so they are read from its bytes.
fn write_pointer(pointer: RawBsonRef<'_>, out: &mut Vec<u8>) -> Result<()> {
    let mut alone = RawDocumentBuf::new();
    alone.append(mongodb::bson::cstr!(""), pointer);
    // Length of the document, type, empty key, length of the name space; then it, a NUL, 12 bytes, the end mark.
    let parts = alone.as_bytes().get(10..).and_then(|bytes| {
        let (name, id) = bytes.split_at_checked(bytes.len().checked_sub(14)?)?;
        Some((std::str::from_utf8(name).ok()?, id.get(1..13)?.try_into().ok()?))
    });
    let (name, id): (&str, [u8; 12]) = parts.ok_or_else(|| Error::failed("not a valid database pointer"))?;
    out.extend(b"{\"$dbPointer\":{\"$ref\":");
    write_text(name, out);
    out.extend(b",\"$id\":");
    write_plain("$oid", &ObjectId::from_bytes(id).to_hex(), out);
    out.extend(b"}}");
    Ok(())
}

/// The shortest digits that give the same number again, with an exponent from 10^6 on and below 10^-4: Go's format `G`.
fn double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{number:E}");
    let (digits, exponent) = scientific.split_once('E').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let text = number.to_string();
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}E{sign}{:02}", exponent.unsigned_abs())
}
