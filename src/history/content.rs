//! The content of a backup as the history stores it: a summary of its manifest.

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    source::manifest::{Detail, Digested, Manifest, Object, Omitted},
    stream::digest::Digest128,
};

/// Content of one backup.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// The time of the data, in milliseconds since 1970.
    pub time: i64,
    /// Bytes of the content, read now or reused from the parent snapshot.
    pub bytes: u64,
    /// Rows, documents or files, if they were counted.
    pub rows: Option<u64>,
    /// Tables, collections and the like; empty if they were not counted.
    pub objects: Vec<Counted>,
    /// Equal for equal content; absent if the content was not digested.
    pub fingerprint: Option<Digest128>,
    /// Why it could not be checked, if so.
    pub unchecked: Option<String>,
    /// Unreadable objects that the backup lacks, by kind and name, each once; absent if unknown.
    pub omitted: Option<Vec<Omitted>>,
    /// Names of objects excluded by a rule.
    pub excluded: Vec<String>,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

/// A table, collection, … of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Its key.
    pub key: Key,
    /// Rows of it.
    pub rows: u64,
    /// Digest of the rows.
    pub digest: Digest128,
    /// The partitioned table that it is a part of; loss of rows and removal are judged for that table.
    pub part_of: Option<String>,
}

/// The key of an object within its item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `table`, `collection`, …
    pub kind: String,
    /// Schema; may be empty.
    pub schema: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// `schema.name` or the name.
    pub fn name(&self) -> String {
        if self.schema.is_empty() { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }
}

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
            super::groups::add_partitioned(&mut objects, detail.partitioned());
            if let Some(files) = detail.files() {
                super::groups::add_files(&mut objects, files);
            }
        }
        Self {
            time: super::millis(&manifest.started),
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

    /// Whether its objects were counted, even if there are none: then earlier objects are gone.
    pub(super) fn is_counted(&self) -> bool {
        self.rows.is_some() || self.fingerprint.is_some()
    }

    /// Unreadable objects that the backup lacks, if known.
    pub fn omitted(&self) -> &[Omitted] {
        self.omitted.as_deref().unwrap_or_default()
    }

    /// Whether an object is missing from the backup because it is unreadable or excluded, and therefore not gone.
    pub(super) fn omits(&self, key: &Key) -> bool {
        let (kind, name) = (key.kind.as_str(), key.name());
        self.omitted()
            .binary_search_by(|o| (o.kind.as_str(), o.name.as_str()).cmp(&(kind, name.as_str())))
            .is_ok()
            || self.excluded.contains(&name)
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
