//! Summarises a manifest as content for the history.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    content::{Content, Counted, Key},
    groups, millis,
};
use crate::{
    source::manifest::{Detail, Digested, Manifest, Object, Omitted},
    stream::digest::Digest128,
};

impl Content {
    /// Summarises a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let digested = manifest.digested == Digested::Yes;
        // Manifests do not list single files and blobs: their count is stored with the object.
        let detail = manifest.any_detail();
        let whole = detail.is_some_and(Detail::is_of_files);
        let bytes = if whole {
            manifest.objects.iter().map(|object| object.bytes).sum()
        } else {
            manifest.files.iter().map(|file| file.bytes).sum()
        };
        let counted = digested && !manifest.objects.is_empty();
        let mut objects: Vec<Counted> =
            manifest.objects.iter().filter(|_| digested).map(Counted::of).collect();
        // A duplicate name would look like one object whose count jumps.
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects.dedup_by(|second, first| {
            let same = first.key == second.key;
            if same {
                first.rows += second.rows;
                first.digest += second.digest;
            }
            same
        });
        let fingerprint = digested.then(|| fingerprint(manifest, &objects));
        if let Some(detail) = detail.filter(|_| digested) {
            groups::add_partitioned(&mut objects, detail.partitioned());
            if let Some(files) = detail.files() {
                groups::add_files(&mut objects, files);
            }
        }
        Self {
            time: millis(&manifest.started),
            bytes,
            rows: counted.then(|| manifest.rows()),
            fingerprint,
            objects,
            unchecked: match &manifest.digested {
                Digested::Yes => None,
                Digested::No(reason) => Some(reason.clone()),
            },
            omitted: Some(omitted(manifest)),
            excluded: manifest.excluded.clone(),
            notes: manifest.notes.clone(),
        }
    }
}

fn omitted(manifest: &Manifest) -> Vec<Omitted> {
    let mut omitted = manifest.omitted.clone();
    omitted.sort_unstable();
    omitted.dedup_by(|second, first| (&first.kind, &first.name) == (&second.kind, &second.name));
    omitted
}

impl Counted {
    fn of(object: &Object) -> Self {
        let key = Key {
            kind: object.kind.clone(),
            schema: object.schema.clone().unwrap_or_default(),
            name: object.name.clone(),
        };
        Self { key, rows: object.rows, digest: object.digest, part_of: None }
    }
}

fn fingerprint(manifest: &Manifest, objects: &[Counted]) -> Digest128 {
    let mut sum = Digest128::ZERO;
    for object in objects {
        let Key { kind, schema, name } = &object.key;
        let text = format!("{kind}\0{schema}\0{name}\0{}\0{}", object.rows, object.digest);
        sum += Digest128::of(text.as_bytes());
    }
    // Other content that stays the same as long as nothing is changed.
    if let Some(detail) = manifest.any_detail() {
        // An object that cannot be serialised would look unchanged each time.
        detail.content(&mut |part| {
            sum += Digest128::from_bits(xxh3_128(&serde_json::to_vec(part).unwrap_or_default()));
        });
    }
    sum
}
