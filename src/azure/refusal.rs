//! The body of a refusal: code and message, in the format of each service of Azure.

use std::time::Duration;

use serde::Deserialize;

use super::{failure::Failure, request::Request};

/// The longest message of a server that is repeated, in characters.
const MAX_MESSAGE: usize = 400;

/// The failure of `request`, which was answered with an error status. A code in the header takes precedence over that of the body.
pub(crate) fn failure(
    request: &Request,
    status: u16,
    code: Option<&str>,
    wait: Option<Duration>,
    body: &[u8],
) -> Failure {
    let (body_code, message) = read(body);
    let code = code.map(str::to_owned).or(body_code).filter(|code| !code.is_empty());
    let code = code.as_deref().map(tidy);
    Failure::refused(request.describe(), request.service, status, code, tidy(&message), wait)
}

/// Code and message from the body of an error: XML of storage services, JSON of the others.
fn read(body: &[u8]) -> (Option<String>, String) {
    match body.iter().find(|byte| byte.is_ascii_graphic() && **byte < 0x80) {
        Some(b'<') => {
            let ErrorXml { code, message } = std::str::from_utf8(body)
                .ok()
                .and_then(|text| quick_xml::de::from_str(text).ok())
                .unwrap_or_default();
            (code.filter(|code| !code.is_empty()), message)
        }
        Some(b'{') => read_json(&serde_json::from_slice(body).unwrap_or_default()),
        _ => (None, String::new()),
    }
}

/// The error of a storage service.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorXml {
    code: Option<String>,
    message: String,
}

fn read_json(value: &serde_json::Value) -> (Option<String>, String) {
    if let Some(text) = value["error_description"].as_str() {
        let code = text.split_once(':').map(|(code, _)| code).filter(|code| code.starts_with("AADSTS"));
        return (code.or(value["error"].as_str()).map(str::to_owned), text.to_owned());
    }
    let error = if value["error"].is_object() { &value["error"] } else { value };
    let text = |key: &str| error[key].as_str().map(str::to_owned);
    (text("code"), text("message").unwrap_or_default())
}

/// The first line, without control characters, capped.
fn tidy(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let mut line: String = line.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE + 1).collect();
    if line.chars().count() > MAX_MESSAGE {
        line.pop();
        line.push('…');
    }
    line
}
