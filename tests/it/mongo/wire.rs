//! Messages of MongoDB's wire protocol, as far as the scripted server needs them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, cstr, rawdoc};

/// A message that is a command or a reply.
const OP_MSG: i32 = 2013;

/// The number of a request and its command.
pub fn receive(client: &mut TcpStream) -> io::Result<(i32, RawDocumentBuf)> {
    let mut header = [0; 16];
    client.read_exact(&mut header)?;
    let number = |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = usize::try_from(number(0)).map_err(io::Error::other)?;
    let mut body = vec![0; length.saturating_sub(header.len())];
    client.read_exact(&mut body)?;
    assert_eq!(number(12), OP_MSG, "the driver speaks nothing else");
    assert_eq!(body[4], 0, "a command is one document");
    let length = i32::from_le_bytes([body[5], body[6], body[7], body[8]]) as usize;
    assert_eq!(body.len(), 5 + length, "nothing follows the document");
    Ok((number(4), RawDocumentBuf::from_bytes(body.split_off(5)).map_err(io::Error::other)?))
}

/// Sends the reply to a request.
pub fn send(client: &mut TcpStream, request: i32, reply: &RawDocument) -> io::Result<()> {
    let length = 16 + 4 + 1 + reply.as_bytes().len();
    let mut message = Vec::with_capacity(length);
    for number in [i32::try_from(length).map_err(io::Error::other)?, 1, request, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(reply.as_bytes());
    client.write_all(&message)
}

/// The reply to a command that fails.
pub fn failure(code: i32, text: &str) -> RawDocumentBuf {
    rawdoc! { "ok": 0.0, "errmsg": text, "code": code, "codeName": text }
}

/// A field of a command that must be a text.
pub fn text<'a>(command: &'a RawDocument, field: &str) -> &'a str {
    command.get_str(field).unwrap()
}

/// A whole number of a command, if it has one.
pub fn number(command: &RawDocument, field: &str) -> Option<i64> {
    match command.get(field).unwrap()? {
        RawBsonRef::Int32(number) => Some(i64::from(number)),
        RawBsonRef::Int64(number) => Some(number),
        _ => None,
    }
}

/// The reply of a cursor.
pub fn batch(
    namespace: &str,
    id: i64,
    field: &str,
    documents: &[Vec<u8>],
    at: Option<Timestamp>,
) -> RawDocumentBuf {
    let mut list = RawArrayBuf::new();
    documents.iter().for_each(|document| list.push(RawDocument::from_bytes(document).unwrap()));
    let mut cursor = rawdoc! { "id": id, "ns": namespace };
    match field {
        "firstBatch" => cursor.append(cstr!("firstBatch"), list),
        _ => cursor.append(cstr!("nextBatch"), list),
    }
    if let Some(at) = at {
        cursor.append(cstr!("atClusterTime"), at);
    }
    rawdoc! { "cursor": cursor, "ok": 1.0 }
}
