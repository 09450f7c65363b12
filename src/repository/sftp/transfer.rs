//! Content of files: it is read and written in pieces, several requests at a time.

use std::{io::SeekFrom, pin::Pin};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, future::join, stream};
use openssh_sftp_client::{Error as Client, file::File};
use tokio::io::AsyncSeek;

use super::super::objects::{ObjectError, Result};

/// Requests for content that are sent without waiting for the first answer.
const READS: usize = 64;
/// The same for writing. Requests of other threads wait until these have passed the connection, which may be slow.
const WRITES: usize = 16;
/// Bytes of one of them. A server may answer with less.
const PIECE: usize = 128 << 10;

/// Reads a whole file. For a small one, a round trip after opening it suffices.
pub(super) async fn read_all(mut file: File) -> Result<Bytes> {
    let first = read_once(file.clone(), 0, PIECE);
    let (found, first) = join(file.metadata(), first).await;
    let (found, mut content) = (found?, first?);
    let length = found.len().ok_or_else(no_length)?;
    // No file of a repository has more.
    let Ok(length) = u32::try_from(length).map(|length| length as usize) else {
        return Err(ObjectError::Unusable(format!("a file of {length} bytes belongs to no repository")));
    };
    if let Some(missing) = length.checked_sub(content.len()).filter(|missing| *missing > 0) {
        let rest = read_pieces(&file, content.len() as u64, missing).await?;
        content.reserve(rest.iter().map(BytesMut::len).sum());
        rest.iter().for_each(|piece| content.extend_from_slice(piece));
    }
    if content.len() == length { Ok(content.freeze()) } else { Err(ObjectError::Cut) }
}

/// Reads a part of a file. A file that ends before the end of the part is an error.
pub(super) async fn read_part(file: File, offset: u64, length: usize) -> Result<Bytes> {
    let pieces = read_pieces(&file, offset, length).await?;
    let mut content = BytesMut::with_capacity(pieces.iter().map(BytesMut::len).sum());
    pieces.iter().for_each(|piece| content.extend_from_slice(piece));
    if content.len() == length { Ok(content.freeze()) } else { Err(ObjectError::Cut) }
}

/// Writes the content of an empty file.
pub(super) async fn write_all(file: &File, content: &[Bytes]) -> Result<()> {
    let writes =
        stream::iter(pieces_of(content)).map(|(offset, piece)| write_piece(file.clone(), offset, piece));
    // All answers are awaited: the client takes an unexpected one for a broken connection.
    let written: Vec<_> = writes.buffer_unordered(WRITES).collect().await;
    Ok(written.into_iter().collect::<std::result::Result<(), Client>>()?)
}

/// Reads a part of a file: less only if the file ends before.
async fn read_pieces(file: &File, offset: u64, length: usize) -> Result<Vec<BytesMut>> {
    let starts = (0..length).step_by(PIECE);
    let reads = starts.map(|at| read_piece(file.clone(), offset + at as u64, PIECE.min(length - at)));
    let pieces: Vec<_> = stream::iter(reads).buffered(READS).collect().await;
    Ok(pieces.into_iter().collect::<std::result::Result<_, Client>>()?)
}

/// As [`read_pieces`], one request after another: the server may answer with less than was requested.
async fn read_piece(file: File, offset: u64, length: usize) -> std::result::Result<BytesMut, Client> {
    let mut piece = BytesMut::new();
    while piece.len() < length {
        let part = read_once(file.clone(), offset + piece.len() as u64, length - piece.len()).await?;
        if part.is_empty() {
            break;
        }
        if piece.is_empty() {
            piece = part;
        } else {
            piece.extend_from_slice(&part);
        }
    }
    Ok(piece)
}

/// The answer to one request: at most this many bytes, and none at the end of the file.
async fn read_once(mut file: File, offset: u64, length: usize) -> std::result::Result<BytesMut, Client> {
    Pin::new(&mut file).start_seek(SeekFrom::Start(offset))?;
    let part = file.read(u32::try_from(length).unwrap_or(u32::MAX), BytesMut::with_capacity(length)).await?;
    Ok(part.unwrap_or_default())
}

async fn write_piece(mut file: File, offset: u64, mut piece: Bytes) -> std::result::Result<(), Client> {
    Pin::new(&mut file).start_seek(SeekFrom::Start(offset))?;
    while !piece.is_empty() {
        let written = file.write_zero_copy(std::slice::from_ref(&piece)).await?;
        piece.advance(written);
    }
    Ok(())
}

/// The content in pieces of at most [`PIECE`] bytes, with their offsets.
fn pieces_of(content: &[Bytes]) -> Vec<(u64, Bytes)> {
    let (mut pieces, mut offset) = (Vec::new(), 0);
    for part in content {
        let mut part = part.clone();
        while !part.is_empty() {
            let piece = part.split_to(PIECE.min(part.len()));
            let length = piece.len() as u64;
            pieces.push((offset, piece));
            offset += length;
        }
    }
    pieces
}

/// Whether this is the content.
pub(super) fn is_same(there: &[u8], content: &[Bytes]) -> bool {
    let mut rest = there;
    let same = content.iter().all(|part| rest.strip_prefix(&part[..]).map(|after| rest = after).is_some());
    same && rest.is_empty()
}

pub(super) fn no_length() -> ObjectError {
    ObjectError::Unusable("the server does not report the lengths of files".to_owned())
}
