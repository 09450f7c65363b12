//! Names of collections as names of files.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::{Digest, Sha1};

/// The characters besides letters and digits that are not escaped; a space becomes `+`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');
/// Longer escaped names are shortened, so that with `.metadata.json.gz` they fit into the 255 bytes of a file's name.
const LONGEST: usize = 238;
/// The kept length of a shortened name.
const KEPT: usize = 208;
/// Between that and the hash: an escaped `$`, which no collection's name contains.
const HASH_FOLLOWS: &str = "%24";

/// The name of a collection's files without `.bson` or `.metadata.json`: escaped as in the query of a URL; over 238
/// bytes its first 208 and a hash, from which the collection's name cannot be recovered.
pub fn file_stem(collection: &str) -> String {
    let mut stem = utf8_percent_encode(collection, ESCAPED).to_string().replace(' ', "+");
    if stem.len() > LONGEST {
        stem.truncate(KEPT);
        stem.push_str(HASH_FOLLOWS);
        stem.push_str(&URL_SAFE_NO_PAD.encode(Sha1::digest(collection.as_bytes())));
    }
    stem
}

/// The collection whose files have this name; nothing if the name is shortened (the metadata's `collectionName` tells
/// it) or not one that [`file_stem`] makes.
pub fn collection_name(stem: &str) -> Option<String> {
    if stem.len() == LONGEST && stem.get(KEPT..).is_some_and(|end| end.starts_with(HASH_FOLLOWS)) {
        return None;
    }
    let spaces = stem.replace('+', " ");
    let name = percent_decode_str(&spaces).decode_utf8().ok()?.into_owned();
    (file_stem(&name) == stem).then_some(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_like_the_query_of_a_url() {
        for (name, stem) in [
            ("UPPER.x-y_z~0", "UPPER.x-y_z~0"),
            ("with space", "with+space"),
            ("plus+sign", "plus%2Bsign"),
            ("per%cent", "per%25cent"),
            ("sla/sh", "sla%2Fsh"),
            ("ünï", "%C3%BCn%C3%AF"),
            ("a*b(c)'!", "a%2Ab%28c%29%27%21"),
        ] {
            assert_eq!(file_stem(name), stem);
            assert_eq!(collection_name(stem).as_deref(), Some(name));
        }
        assert_eq!(collection_name("a*b"), None, "no dump writes this");
        assert_eq!(collection_name("%FF"), None);
    }

    #[test]
    fn long_names_are_shortened() {
        let fits = "x".repeat(LONGEST);
        assert_eq!(file_stem(&fits), fits);
        assert_eq!(collection_name(&fits).as_deref(), Some(fits.as_str()));
        let long = "ü".repeat(100);
        let stem = file_stem(&long);
        // The hash as `printf 'ü%.0s' {1..100} | openssl sha1 -binary | basenc --base64url` tells it.
        assert_eq!(stem, format!("{}%C3%%24GNv02GVGu-Q0Qlqm4Af4pi0FC_k", "%C3%BC".repeat(34)));
        assert_eq!(stem.len(), LONGEST);
        assert_eq!(collection_name(&stem), None);
    }
}
