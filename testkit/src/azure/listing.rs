//! Lists of shares and of directories as XML.

use super::{
    http::{Request, Response},
    tree::{Directory, Facts, Node},
    world::{Account, http_date, stamp},
};

/// `GET /?comp=list`: shares, and their snapshots if requested.
pub fn shares(account: &Account, base: &str, page_size: usize, request: &Request) -> Response {
    let include = request.parameter("include").unwrap_or_default();
    let includes = |what: &str| include.split(',').any(|one| one == what);
    let mut all = Vec::new();
    for (name, share) in &account.shares {
        if share.deleted && !includes("deleted") {
            continue;
        }
        let snapshots = share.snapshots.iter().map(|known| (Some(&known.id), &known.metadata));
        let snapshots = snapshots.filter(|_| includes("snapshots"));
        for (snapshot, metadata) in snapshots.chain([(None, &share.metadata)]) {
            let mut text = format!("<Share><Name>{}</Name>", escape(name));
            if let Some(id) = snapshot {
                text.push_str(&format!("<Snapshot>{id}</Snapshot>"));
            }
            if share.deleted {
                text.push_str("<Deleted>true</Deleted><Version>01D60F8BB59A4652</Version>");
            }
            text.push_str(&format!(
                "<Properties><Last-Modified>{}</Last-Modified><Etag>{}</Etag><Quota>{}</Quota>\
                 <EnabledProtocols>{}</EnabledProtocols></Properties>",
                http_date(share.root.facts.modified),
                escape(&share.root.facts.etag),
                share.quota,
                share.protocol
            ));
            if includes("metadata") {
                let pairs = metadata.iter().map(|(key, value)| format!("<{key}>{}</{key}>", escape(value)));
                text.push_str(&format!("<Metadata>{}</Metadata>", pairs.collect::<String>()));
            }
            text.push_str("</Share>");
            all.push(text);
        }
    }
    let (begin, end, next) = cut(all.len(), page_size, request);
    let page = all[begin..end].concat();
    let body = format!(
        "<EnumerationResults ServiceEndpoint=\"{}\"><Shares>{page}</Shares>{next}</EnumerationResults>",
        escape(base)
    );
    Response::xml(200, &body)
}

/// One level of a directory. `page_size` bounds what the request allows.
pub fn entries(directory: &Directory, share: &str, page_size: usize, request: &Request) -> Response {
    let include = request.parameter("include").unwrap_or_default().to_lowercase();
    let includes = |what: &str| include.split(',').any(|one| one == what);
    let extended =
        !include.is_empty() || request.header("x-ms-file-extended-info").is_some_and(|value| value == "true");
    let (begin, end, next) = cut(directory.entries.len(), page_size, request);
    let here = directory.entries.values().skip(begin).take(end - begin);
    let page = here.map(|(name, node)| {
        let facts = node.facts();
        let mut properties = String::new();
        let kind = match node {
            Node::File(file) => {
                properties.push_str(&format!("<Content-Length>{}</Content-Length>", file.content.len()));
                "File"
            }
            Node::Directory(_) => "Directory",
        };
        if includes("timestamps") {
            properties.push_str(&times(facts));
        }
        if includes("etag") {
            properties.push_str(&format!("<Etag>{}</Etag>", escape(&facts.etag)));
        }
        let mut text = format!("<{kind}>{}", name_element(name));
        if extended {
            text.push_str(&format!("<FileId>{}</FileId>", facts.id));
        }
        text.push_str(&format!("<Properties>{properties}</Properties>"));
        if includes("attributes") {
            text.push_str(&format!("<Attributes>{}</Attributes>", attributes(node, " | ")));
        }
        if includes("permissionkey") {
            text.push_str(&format!("<PermissionKey>{}</PermissionKey>", facts.permission_key));
        }
        format!("{text}</{kind}>")
    });
    let page: String = page.collect();
    let body = format!(
        "<EnumerationResults ShareName=\"{}\"><Entries>{page}</Entries>{next}\
         <DirectoryId>{}</DirectoryId></EnumerationResults>",
        escape(share),
        directory.facts.id
    );
    Response::xml(200, &body)
}

/// The attributes of a file or directory; `None` if there are none.
pub fn attributes(node: &Node, separator: &str) -> String {
    let mut names = node.facts().attributes.clone();
    if matches!(node, Node::Directory(_)) {
        names.insert(0, "Directory".to_owned());
    }
    if names.is_empty() { "None".to_owned() } else { names.join(separator) }
}

fn times(facts: &Facts) -> String {
    format!(
        "<CreationTime>{}</CreationTime><LastAccessTime>{}</LastAccessTime><LastWriteTime>{}</LastWriteTime>\
         <ChangeTime>{}</ChangeTime><Last-Modified>{}</Last-Modified>",
        stamp(facts.created),
        stamp(facts.written),
        stamp(facts.written),
        stamp(facts.changed),
        http_date(facts.modified)
    )
}

/// Begin and end of one page of a list, and the marker of the next. A marker is opaque; this one needs care in a query.
fn cut(all: usize, page_size: usize, request: &Request) -> (usize, usize, String) {
    let marker = request.parameter("marker").unwrap_or_default();
    let begin = marker.strip_prefix("2!+/&=").and_then(|text| text.parse().ok()).unwrap_or(0).min(all);
    let wanted = request.parameter("maxresults").and_then(|text| text.parse().ok()).unwrap_or(5000);
    let end = all.min(begin + page_size.min(wanted));
    let next = if end < all {
        format!("<NextMarker>2!+/&amp;={end}</NextMarker>")
    } else {
        "<NextMarker />".to_owned()
    };
    (begin, end, next)
}

/// A name; percent-encoded and marked so if it holds what XML cannot.
fn name_element(name: &str) -> String {
    let odd = |c: char| matches!(c, '\u{1}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if !name.contains(odd) {
        return format!("<Name>{}</Name>", escape(name));
    }
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("<Name Encoded=\"true\">{encoded}</Name>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
