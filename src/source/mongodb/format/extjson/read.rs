//! From JSON to BSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use mongodb::bson::{RawDocumentBuf, oid::ObjectId, spec::BinarySubtype, spec::ElementType};

use super::{invalid, node::Node};
use crate::error::{Error, Result};

/// Reads a document: canonical Extended JSON, and the relaxed forms of numbers and dates.
///
/// # Errors
/// It is not JSON, not an object, or has an invalid value.
pub fn parse_document(json: &[u8]) -> Result<RawDocumentBuf> {
    let node =
        serde_json::from_slice(json).map_err(|error| Error::failed("not valid JSON").because(&error))?;
    let Node::Object(fields) = node else { return Err(Error::failed("not a JSON object")) };
    document_of(&fields)
}

/// The document of a JSON object with any keys.
pub fn document_of(fields: &[(String, Node)]) -> Result<RawDocumentBuf> {
    let mut bytes = Vec::new();
    put_document(fields.iter().map(|(key, value)| (key.as_str(), value)), &mut bytes)?;
    RawDocumentBuf::from_bytes(bytes).map_err(|error| invalid(&error))
}

fn put_document<'a>(fields: impl Iterator<Item = (&'a str, &'a Node)>, out: &mut Vec<u8>) -> Result<()> {
    let begin = out.len();
    out.extend([0; 4]);
    for (key, value) in fields {
        let kind = out.len();
        out.push(0);
        put_cstr(key, out)?;
        out[kind] = put_value(value, out)? as u8;
    }
    out.push(0);
    put_length(begin, out)
}

/// Writes the length of the element that begins there, including the length itself.
fn put_length(begin: usize, out: &mut [u8]) -> Result<()> {
    let length =
        i32::try_from(out.len() - begin).map_err(|_| Error::failed("more than 2 GiB in one document"))?;
    out[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_cstr(text: &str, out: &mut Vec<u8>) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::failed(format!("{text:?} must not contain a NUL character")));
    }
    out.extend(text.bytes());
    out.push(0);
    Ok(())
}

fn put_text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let length = i32::try_from(text.len() + 1).map_err(|_| Error::failed("a text of more than 2 GiB"))?;
    out.extend(length.to_le_bytes());
    out.extend(text.bytes());
    out.push(0);
    Ok(())
}

fn put_value(value: &Node, out: &mut Vec<u8>) -> Result<ElementType> {
    match value {
        Node::Null => Ok(ElementType::Null),
        Node::Bool(flag) => {
            out.push(u8::from(*flag));
            Ok(ElementType::Boolean)
        }
        Node::Int(number) => Ok(match i32::try_from(*number) {
            Ok(number) => put(ElementType::Int32, &number.to_le_bytes(), out),
            Err(_) => put(ElementType::Int64, &number.to_le_bytes(), out),
        }),
        Node::Double(number) => Ok(put(ElementType::Double, &number.to_le_bytes(), out)),
        Node::Text(text) => put_text(text, out).map(|()| ElementType::String),
        Node::Array(values) => {
            let keys: Vec<String> = (0..values.len()).map(|position| position.to_string()).collect();
            put_document(keys.iter().map(String::as_str).zip(values), out)?;
            Ok(ElementType::Array)
        }
        Node::Object(fields) => match put_wrapped(fields, out)? {
            Some(kind) => Ok(kind),
            None => {
                put_document(fields.iter().map(|(key, value)| (key.as_str(), value)), out)?;
                Ok(ElementType::EmbeddedDocument)
            }
        },
    }
}

fn put(kind: ElementType, bytes: &[u8], out: &mut Vec<u8>) -> ElementType {
    out.extend(bytes);
    kind
}

/// A value that is written in JSON as an object with type keys; `None` if this object is not one.
fn put_wrapped(fields: &[(String, Node)], out: &mut Vec<u8>) -> Result<Option<ElementType>> {
    let kind = match fields {
        [(key, Node::Text(text))] => return put_plain(key, text, out),
        [(key, Node::Object(inner))] => return put_nested(key, inner, out),
        [(key, Node::Int(1))] if key == "$minKey" => ElementType::MinKey,
        [(key, Node::Int(1))] if key == "$maxKey" => ElementType::MaxKey,
        [(key, Node::Bool(true))] if key == "$undefined" => ElementType::Undefined,
        [(code_key, Node::Text(code)), (scope_key, Node::Object(scope))]
            if code_key == "$code" && scope_key == "$scope" =>
        {
            let begin = out.len();
            out.extend([0; 4]);
            put_text(code, out)?;
            put_document(scope.iter().map(|(key, value)| (key.as_str(), value)), out)?;
            put_length(begin, out)?;
            ElementType::JavaScriptCodeWithScope
        }
        _ => return Ok(None),
    };
    Ok(Some(kind))
}

/// A value from a string.
fn put_plain(key: &str, text: &str, out: &mut Vec<u8>) -> Result<Option<ElementType>> {
    let wrong = || Error::failed(format!("{text:?} cannot be a value of {key}"));
    let kind = match key {
        "$numberInt" => {
            put(ElementType::Int32, &text.parse::<i32>().map_err(|_| wrong())?.to_le_bytes(), out)
        }
        "$numberLong" => {
            put(ElementType::Int64, &text.parse::<i64>().map_err(|_| wrong())?.to_le_bytes(), out)
        }
        "$numberDouble" => {
            put(ElementType::Double, &text.parse::<f64>().map_err(|_| wrong())?.to_le_bytes(), out)
        }
        "$numberDecimal" => {
            let number: mongodb::bson::Decimal128 = text.parse().map_err(|_| wrong())?;
            put(ElementType::Decimal128, &number.bytes(), out)
        }
        "$oid" => put(ElementType::ObjectId, &ObjectId::parse_str(text).map_err(|_| wrong())?.bytes(), out),
        "$date" => {
            let date: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
            put(ElementType::DateTime, &date.as_millisecond().to_le_bytes(), out)
        }
        "$symbol" => put_text(text, out).map(|()| ElementType::Symbol)?,
        "$code" => put_text(text, out).map(|()| ElementType::JavaScriptCode)?,
        _ => return Ok(None),
    };
    Ok(Some(kind))
}

/// A value from an object.
fn put_nested(key: &str, inner: &[(String, Node)], out: &mut Vec<u8>) -> Result<Option<ElementType>> {
    let named = |name: &str| inner.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let wrong = || Error::failed(format!("what stands in {key} cannot be its value"));
    let kind = match key {
        "$date" => match inner {
            [(_, Node::Text(millis))] if named("$numberLong").is_some() => {
                put(ElementType::DateTime, &millis.parse::<i64>().map_err(|_| wrong())?.to_le_bytes(), out)
            }
            _ => return Err(wrong()),
        },
        "$timestamp" => {
            let (Some(Node::Int(time)), Some(Node::Int(increment))) = (named("t"), named("i")) else {
                return Err(wrong());
            };
            for part in [increment, time] {
                out.extend(u32::try_from(*part).map_err(|_| wrong())?.to_le_bytes());
            }
            ElementType::Timestamp
        }
        "$binary" => {
            let (Some(Node::Text(content)), Some(Node::Text(subtype))) = (named("base64"), named("subType"))
            else {
                return Err(wrong());
            };
            let content = STANDARD.decode(content).map_err(|_| wrong())?;
            let subtype = u8::from_str_radix(subtype, 16).map_err(|_| wrong())?;
            put_binary(&content, subtype, out)?;
            ElementType::Binary
        }
        "$regularExpression" => {
            let (Some(Node::Text(pattern)), Some(Node::Text(options))) = (named("pattern"), named("options"))
            else {
                return Err(wrong());
            };
            put_cstr(pattern, out)?;
            put_cstr(options, out)?;
            ElementType::RegularExpression
        }
        "$dbPointer" => {
            let (Some(Node::Text(name)), Some(Node::Object(id))) = (named("$ref"), named("$id")) else {
                return Err(wrong());
            };
            put_text(name, out)?;
            match put_wrapped(id, out)? {
                Some(ElementType::ObjectId) => ElementType::DbPointer,
                _ => return Err(wrong()),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(kind))
}

fn put_binary(content: &[u8], subtype: u8, out: &mut Vec<u8>) -> Result<()> {
    let length = |more: usize| {
        i32::try_from(content.len() + more).map_err(|_| Error::failed("binary data of more than 2 GiB"))
    };
    if subtype == u8::from(BinarySubtype::BinaryOld) {
        // This subtype contains its length again.
        out.extend(length(4)?.to_le_bytes());
        out.push(subtype);
        out.extend(length(0)?.to_le_bytes());
    } else {
        out.extend(length(0)?.to_le_bytes());
        out.push(subtype);
    }
    out.extend(content);
    Ok(())
}
