//! Compression, encryption and hashing of the repository's data, as defined by restic's repository format (version 2):
//! nonce ‖ AES-256-CTR ciphertext ‖ Poly1305-AES tag; files other than packs have a version byte before their zstd data.

use std::io;

use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, aead::AeadInPlace};
use rustic_core::{Id, repofile::MasterKey};
use sha2::{Digest, Sha256};
use zstd::zstd_safe::{CCtx, CParameter};

use crate::error::{Error, Result};

/// SHA-256 of plaintext (blobs) or of the stored bytes (files): the name of everything in a repository.
pub(super) type Hash = Id;

/// Bytes added by encryption: nonce and tag.
pub(super) const OVERHEAD: usize = 32;
const NONCE: usize = 16;
/// AES-256 key, Poly1305's k and r.
const KEY: usize = 64;
/// First byte of an unpacked file whose content is zstd data.
const COMPRESSED_FILE: u8 = 2;

/// SHA-256 of `data`.
pub(super) fn hash(data: &[u8]) -> Hash {
    Id::new(Sha256::digest(data).into())
}

/// SHA-256 of data in pieces.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    /// Adds the next piece.
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    pub(super) fn finish(self) -> Hash {
        Id::new(self.bytes())
    }

    /// The hash of all pieces, as bytes.
    pub(super) fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Encrypts and decrypts with the repository's key.
#[derive(Clone)]
pub(super) struct Cipher {
    key: Key,
}

impl Cipher {
    /// Uses the master key of an opened repository.
    pub(super) fn new(master: &MasterKey) -> Result<Self> {
        let bytes = [master.encrypt.as_slice(), &master.mac.k, &master.mac.r].concat();
        if bytes.len() != KEY {
            return Err(Error::repository("the repository's master key has an unexpected length"));
        }
        Ok(Self { key: *Key::from_slice(&bytes) })
    }

    /// Encrypts the bytes that `fill` appends to `out`; the bytes before them are not changed.
    pub(super) fn encrypt_with(
        &self,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<()> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| Error::failed("no random numbers").because(&e))?;
        out.extend_from_slice(&nonce);
        let start = out.len();
        fill(out).map_err(|e| Error::failed("cannot compress").because(&e))?;
        let tag = Aes256CtrPoly1305Aes::new(&self.key)
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), &[], &mut out[start..])
            .map_err(|e| Error::failed(format!("cannot encrypt: {e}")))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Encrypts an unpacked file (index, snapshot, lock): compressed JSON.
    pub(super) fn encrypt_file(&self, json: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.encrypt_with(&mut out, |out| {
            out.push(COMPRESSED_FILE);
            zstd::stream::copy_encode(json, out, 3)
        })?;
        Ok(out)
    }

    /// Decrypts an unpacked file of this program, restic or rustic. `None` if it was encrypted with another key or is damaged.
    pub(super) fn decrypt_file(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        let plain = self.decrypt(encrypted)?;
        match plain.first() {
            Some(&COMPRESSED_FILE) => zstd::stream::decode_all(&plain[1..]).ok(),
            _ => Some(plain),
        }
    }

    /// Decrypts data. `None` if it was encrypted with another key or is damaged.
    pub(super) fn decrypt(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_in_place(&mut encrypted.to_vec()).map(<[u8]>::to_vec)
    }

    /// As [`Self::decrypt`], where it lies: `encrypted` is used up.
    pub(super) fn decrypt_in_place<'a>(&self, encrypted: &'a mut [u8]) -> Option<&'a [u8]> {
        let (nonce, rest) = encrypted.split_at_mut_checked(NONCE)?;
        let (data, tag) = rest.split_at_mut_checked(rest.len().checked_sub(OVERHEAD - NONCE)?)?;
        Aes256CtrPoly1305Aes::new(&self.key)
            .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], data, (&*tag).into())
            .ok()?;
        Some(data)
    }
}

/// A zstd context that is set up once and used for many blobs.
pub(super) struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    /// A context for zstd `level`.
    pub(super) fn new(level: i32) -> Result<Self> {
        let mut context = CCtx::create();
        let set = |context: &mut CCtx<'_>, parameter| {
            context.set_parameter(parameter).map_err(|code| {
                Error::failed("cannot set up zstd").because_text(zstd::zstd_safe::get_error_name(code))
            })
        };
        set(&mut context, CParameter::CompressionLevel(level))?;
        set(&mut context, CParameter::ContentSizeFlag(true))?;
        if level == 1 {
            // A table of 256 KiB instead of 64 KiB still fits into the L2 cache. Dumps become 3 to 8 % smaller, about as small as
            // with restic, and take a tenth more time; level 2 takes more time for the same size.
            set(&mut context, CParameter::HashLog(16))?;
        }
        Ok(Self { context })
    }

    /// Appends the compressed form of `data` to `out`.
    pub(super) fn append(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        out.reserve(zstd::zstd_safe::compress_bound(data.len()));
        let mut target = zstd::zstd_safe::OutBuffer::around_pos(out, start);
        let mut input = zstd::zstd_safe::InBuffer::around(data);
        let end = zstd::zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end;
        self.context
            .set_pledged_src_size(Some(data.len() as u64))
            .and_then(|_| self.context.compress_stream2(&mut target, &mut input, end))
            .map_err(|code| io::Error::other(zstd::zstd_safe::get_error_name(code)))?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_files_can_be_decrypted_and_damage_is_noticed() {
        let cipher = Cipher::new(&MasterKey::new()).unwrap();
        let mut encrypted = cipher.encrypt_file(b"{\"a\":1}").unwrap();
        assert_eq!(cipher.decrypt_file(&encrypted).unwrap(), b"{\"a\":1}");
        assert!(Cipher::new(&MasterKey::new()).unwrap().decrypt_file(&encrypted).is_none());
        encrypted[20] ^= 1;
        assert!(cipher.decrypt_file(&encrypted).is_none());
        assert!(cipher.decrypt_file(&encrypted[..10]).is_none());
    }

    #[test]
    fn compression_appends_and_decodes() {
        let data: Vec<u8> = (0..2_000_000u32).map(|n| (n / 1000) as u8).collect();
        let mut compressor = Compressor::new(1).unwrap();
        for _ in 0..2 {
            let mut out = b"before".to_vec();
            compressor.append(&data, &mut out).unwrap();
            assert_eq!(&out[..6], b"before");
            assert!(out.len() < 20_000);
            assert_eq!(zstd::decode_all(&out[6..]).unwrap(), data);
        }
    }
}
