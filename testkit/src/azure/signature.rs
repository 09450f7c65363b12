//! Checks SharedKey signatures as Azure Storage does.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>

use std::{cmp::Ordering, collections::BTreeMap};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::http::Request;

/// The headers that are signed by place, without their names.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Whether `signature` (base64) is that of the request by `account`'s `key` (base64).
pub fn is_right(request: &Request, account: &str, key: &str, signature: &str) -> bool {
    let (Ok(key), Ok(signature)) = (BASE64_STANDARD.decode(key), BASE64_STANDARD.decode(signature)) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
    mac.update(string_to_sign(request, account).as_bytes());
    mac.verify_slice(&signature).is_ok()
}

/// The text to sign.
fn string_to_sign(request: &Request, account: &str) -> String {
    let mut text = format!("{}\n", request.method);
    for name in SIGNED {
        let value = request.header(name).unwrap_or_default();
        // x-ms-date takes the place of Date, and a length of zero is none.
        let skip = name == "date" && request.header("x-ms-date").is_some()
            || name == "content-length" && value == "0";
        if !skip {
            text.push_str(value);
        }
        text.push('\n');
    }
    let mut own: Vec<_> = request.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    own.sort_by(|(a, _), (b, _)| compare(a, b));
    for (name, value) in own {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&format!("/{account}{}", request.path()));
    let mut parameters = BTreeMap::<String, Vec<String>>::new();
    for (key, value) in request.query() {
        parameters.entry(key.to_lowercase()).or_default().push(value);
    }
    for (key, mut values) in parameters {
        values.sort();
        text.push_str(&format!("\n{key}:{}", values.join(",")));
    }
    text
}

/// The service sorts header names as a dictionary does: hyphens count only between names that are else equal, and
/// an underscore comes before digits. Among those the one without a hyphen comes first.
fn compare(a: &str, b: &str) -> Ordering {
    let letters = |name: &str| -> Vec<char> {
        let letters = name.chars().filter(|c| *c != '-');
        letters.map(|c| if c == '_' { '\u{1}' } else { c }).collect()
    };
    letters(a).cmp(&letters(b)).then_with(|| b.cmp(a))
}
