use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use rustic_core::repofile::MasterKey;
use serde_json::json;

use super::*;
use crate::{
    config::RepositoryConfig,
    repository::{Subset, storage::Written},
    settings::{RepositoryLocation, SecretFile},
};

/// A pack with these blobs, each of the type given as in a pack's header.
fn pack(cipher: &Cipher, contents: &[(u8, Vec<u8>)]) -> (Vec<u8>, Vec<Blob>) {
    let (mut data, mut header, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, content) in contents {
        let offset = data.len() as u32;
        let stored = if *kind < 2 { content.clone() } else { zstd::encode_all(&content[..], 1).unwrap() };
        cipher.encrypt_with(&mut data, |out| out.write_all(&stored)).unwrap();
        let length = data.len() as u32 - offset;
        header.push(*kind);
        header.extend(length.to_le_bytes());
        let plain = (*kind > 1).then_some(content.len() as u32);
        header.extend(plain.into_iter().flat_map(u32::to_le_bytes));
        header.extend(Sha256::digest(content));
        blobs.push(Blob { offset, length, plain, tree: kind % 2 == 1, id: hash(content) });
    }
    let start = data.len();
    cipher.encrypt_with(&mut data, |out| out.write_all(&header)).unwrap();
    let length = (data.len() - start) as u32;
    data.extend(length.to_le_bytes());
    (data, blobs)
}

fn contents(seed: u8) -> Vec<(u8, Vec<u8>)> {
    (0..4u8).flat_map(|n| [0, 1, 2, 3].map(|kind| (kind, vec![seed ^ n ^ (kind << 4); 5_000]))).collect()
}

#[test]
fn whole_packs_of_every_kind_of_blob_pass() {
    let cipher = Cipher::new(&MasterKey::new()).unwrap();
    let (data, blobs) = pack(&cipher, &contents(7));
    assert_eq!(data.len() as u64, pack_len(&blobs));
    assert_eq!(read_header(&cipher, &data, data.len()).unwrap(), blobs);
    verify(&cipher, data.clone(), &blobs, true).unwrap();
    let other = Cipher::new(&MasterKey::new()).unwrap();
    let error = verify(&other, data, &blobs, true).unwrap_err();
    assert!(error.contains("header cannot be read") && error.contains("16 of its 16 blobs"), "{error}");
}

/// Damage from before encryption: every tag and the pack's name fit, only the blob's own hash or length does not.
#[test]
fn blobs_that_are_not_what_they_are_called_are_found() {
    let cipher = Cipher::new(&MasterKey::new()).unwrap();
    let (data, right) = pack(&cipher, &[(2, vec![1; 9_000]), (0, vec![2; 9_000]), (2, vec![0; 50_000_000])]);
    let damage = |change: &dyn Fn(&mut Vec<Blob>)| {
        let mut blobs = right.clone();
        change(&mut blobs);
        verify(&cipher, data.clone(), &blobs, true).unwrap_err()
    };
    for n in 0..2 {
        let error = damage(&|blobs| blobs[n].id = hash(b"another"));
        assert!(
            error.contains("other blobs than the index") && error.contains("1 of its 3 blobs"),
            "{error}"
        );
    }
    let error = damage(&|blobs| blobs[2].plain = Some(9_000));
    assert!(error.contains("1 of its 3 blobs") && error.contains("bytes at"), "{error}");
    let error = damage(&|blobs| (blobs[1].offset, blobs[1].length) = (u32::MAX, u32::MAX));
    assert!(error.contains("1 of its 3 blobs"), "{error}");
    let error = damage(&|blobs| blobs.truncate(2));
    assert_eq!(error, "its header lists other blobs than the index");
}

/// A repository with four packs, and the paths of their files.
fn repository(dir: &std::path::Path) -> (Repository, Vec<PathBuf>) {
    let password = dir.join("password");
    fs::write(&password, "secret").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let config = RepositoryConfig {
        location: RepositoryLocation::Given(dir.join("repo").display().to_string()),
        password_file: SecretFile::at("repository.password_file", password),
        mount: None,
        host: "test".to_owned(),
        compression: 1,
        verify_writes: false,
        min_free: 0,
        lock_wait: Duration::ZERO,
        retry_for: Duration::ZERO,
        cache: None,
        pack_size: 4 << 20,
        options: Default::default(),
        options_files: Default::default(),
    };
    Repository::init(&config).unwrap();
    let repository = Repository::open(&config).unwrap();
    let (mut listed, mut paths) = (Vec::new(), Vec::new());
    for seed in 0..4 {
        let kind = 2 + seed % 2;
        let (data, blobs) = pack(&repository.cipher, &[10, 20, 30].map(|n| (kind, vec![seed ^ n; 5_000])));
        let id = hash(&data);
        repository.storage.write(Written::Data, id, &data).unwrap();
        let blob = |blob: &Blob| {
            let tpe = if blob.tree { "tree" } else { "data" };
            json!({ "id": blob.id, "type": tpe, "offset": blob.offset, "length": blob.length,
                    "uncompressed_length": blob.plain })
        };
        listed.push(json!({ "id": id, "blobs": blobs.iter().map(blob).collect::<Vec<_>>() }));
        let name = id.to_hex().as_str().to_owned();
        paths.push(dir.join("repo/data").join(&name[..2]).join(name));
    }
    let index = repository.cipher.encrypt_file(json!({ "packs": listed }).to_string().as_bytes()).unwrap();
    repository.storage.write(Written::File(FileType::Index), hash(&index), &index).unwrap();
    (repository, paths)
}

#[test]
fn damaged_packs_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (repository, paths) = repository(dir.path());
    // The library names a pack by the start of its id.
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()[..8].to_owned();
    let check = || repository.check(Subset::All, &Cancel::new()).unwrap();
    let whole: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let report = check();
    assert_eq!((report.errors, report.packs, report.packs_read), (vec![], 4, 4));

    // What is to be read of the report of each damage besides the pack's name.
    let flipped = |at: usize| {
        let mut data = whole[0].clone();
        data[at] ^= 1;
        data
    };
    let end = whole[0].len();
    let damages = [
        ("1 of its 3 blobs", flipped(60)),
        ("header cannot be read", flipped(end - 40)),
        ("header cannot be read", flipped(end - 1)),
        ("3 of its 3 blobs", Vec::new()),
        ("header cannot be read", whole[0][..end - 10].to_vec()),
        ("according to the index", [&whole[0][..], b"more"].concat()),
    ];
    for (what, data) in damages {
        fs::write(&paths[0], &data).unwrap();
        let errors = check().errors;
        assert!(
            errors.iter().any(|error| error.contains(&name(&paths[0])) && error.contains(what)),
            "{what}: {errors:?}"
        );
        assert!(errors.iter().all(|error| error.contains(&name(&paths[0]))), "{errors:?}");
        fs::write(&paths[0], &whole[0]).unwrap();
    }
    fs::write(&paths[1], &whole[3]).unwrap();
    fs::write(&paths[3], &whole[1]).unwrap();
    let errors = check().errors;
    for path in [&paths[1], &paths[3]] {
        let of_it = errors.iter().filter(|error| error.starts_with(&format!("pack {}", name(path))));
        assert_eq!(of_it.count(), 1, "{errors:?}");
    }
    assert!(errors.iter().all(|error| error.contains("content does not match its name")), "{errors:?}");

    // One that is gone is reported once, and is not read.
    for (path, data) in paths.iter().zip(&whole) {
        fs::write(path, data).unwrap();
    }
    fs::remove_file(&paths[2]).unwrap();
    let report = check();
    assert_eq!((report.errors.len(), report.packs_read), (1, 3), "{report:?}");
    assert!(report.errors[0].contains(&name(&paths[2])));
    let cancel = Cancel::new();
    cancel.cancel("enough");
    assert!(repository.check(Subset::All, &cancel).unwrap_err().to_string().contains("enough"));
}
