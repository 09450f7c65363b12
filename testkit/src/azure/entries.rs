//! The File service: directories and files.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    files::Place,
    http::{Request, Response},
    listing::{self, attributes},
    tree::{Directory, Facts, FileNode, Missing, Node},
    world::{PERMISSION_KEY, World, http_date, stamp, storage_error},
};

/// The maximum size of Put Range, in bytes.
const MAX_RANGE: u64 = 4 * 1024 * 1024;
/// Headers that describe a file's content: as they are sent, as they are answered.
const CONTENT: [(&str, &str); 6] = [
    ("x-ms-content-type", "Content-Type"),
    ("x-ms-content-encoding", "Content-Encoding"),
    ("x-ms-content-language", "Content-Language"),
    ("x-ms-content-disposition", "Content-Disposition"),
    ("x-ms-cache-control", "Cache-Control"),
    ("x-ms-content-md5", "Content-MD5"),
];

type Served = Result<Response, Response>;

/// Serves a request for a file or directory.
pub fn serve(world: &mut World, place: &Place, request: &Request) -> Served {
    let is_directory = request.parameter("restype").as_deref() == Some("directory");
    let component = request.parameter("comp").unwrap_or_default();
    if request.method == "PUT" && place.snapshot.is_some() {
        return Err(storage_error(400, "InvalidQueryParameterValue"));
    }
    if place.path.iter().any(|part| part.contains(['"', '\\', ':', '|', '<', '>', '*', '?', '/'])) {
        return Err(storage_error(400, "InvalidResourceName"));
    }
    match (request.method.as_str(), is_directory, component.as_str()) {
        ("GET", true, "list") => list(world, place, request),
        ("GET" | "HEAD", true, "") => directory_properties(world, place),
        ("PUT", true, "") => create_directory(world, place, request),
        ("PUT", true, "properties") => set_directory(world, place, request),
        ("PUT", true, "metadata") => set_directory_metadata(world, place, request),
        ("GET", false, "") => get(world, place, request),
        ("HEAD", false, "") => file_properties(world, place),
        ("PUT", false, "") => create_file(world, place, request),
        ("PUT", false, "range") => put_range(world, place, request),
        ("PUT", false, "properties") => set_file(world, place, request),
        _ => Err(storage_error(400, "InvalidQueryParameterValue")),
    }
}

fn missing(missing: Missing) -> Response {
    match missing {
        Missing::Entry => storage_error(404, "ResourceNotFound"),
        Missing::Parent => storage_error(404, "ParentNotFound"),
    }
}

fn list(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("ListFiles");
    let page_size = world.page_size;
    let directory = place.root(world)?.directory(&place.path).map_err(missing)?;
    Ok(listing::entries(directory, &place.share, page_size, request))
}

fn directory_properties(world: &mut World, place: &Place) -> Served {
    world.note("GetDirectoryProperties");
    let directory = place.root(world)?.directory(&place.path).map_err(missing)?;
    Ok(described(Response::new(200), &Node::Directory(directory.clone())))
}

fn create_directory(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("CreateDirectory");
    let mut made = world.directory();
    apply(&mut made.facts, request, &permissions(world, place)?)?;
    made.facts.metadata = request.metadata();
    let answer = described(Response::new(201), &Node::Directory(made.clone()));
    insert(world, place, |existing| match existing {
        None => Ok(Node::Directory(made)),
        Some(_) => Err(storage_error(409, "ResourceAlreadyExists")),
    })?;
    Ok(answer)
}

fn set_directory(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("SetDirectoryProperties");
    let (known, etag) = (permissions(world, place)?, world.etag());
    let share = place.share(world)?;
    let directory = share.root.directory_mut(&place.path).map_err(missing)?;
    apply(&mut directory.facts, request, &known)?;
    directory.facts.etag = etag;
    Ok(described(Response::new(200), &Node::Directory(directory.clone())))
}

fn set_directory_metadata(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("SetDirectoryMetadata");
    let etag = world.etag();
    let directory = place.share(world)?.root.directory_mut(&place.path).map_err(missing)?;
    directory.facts.metadata = request.metadata();
    directory.facts.etag = etag;
    Ok(described(Response::new(200), &Node::Directory(directory.clone())))
}

fn get(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("GetFile");
    let file = file(place.root(world)?, place)?;
    let range = request.header("x-ms-range").or_else(|| request.header("range"));
    let length = file.content.len() as u64;
    let (answer, sent) = match range {
        None => (Response::new(200).body("", file.content.as_ref().clone()), length),
        Some(range) => {
            let (begin, end) = parse_range(range, length)?;
            let part = &file.content[usize_of(begin)..=usize_of(end)];
            let answer = Response::new(206).body("", part.to_vec());
            (answer.with("Content-Range", format!("bytes {begin}-{end}/{length}")), end - begin + 1)
        }
    };
    let mut answer = answer.with("Accept-Ranges", "bytes");
    answer.headers.retain(|(name, _)| name != "Content-Type");
    let answer = described(answer, &Node::File(file));
    world.content_sent += sent;
    Ok(answer)
}

fn file_properties(world: &mut World, place: &Place) -> Served {
    world.note("GetFileProperties");
    let file = file(place.root(world)?, place)?;
    let answer = Response::new(200).with("Content-Length", file.content.len().to_string());
    Ok(described(answer, &Node::File(file)))
}

fn create_file(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("CreateFile");
    let bad = || storage_error(400, "InvalidHeaderValue");
    if request.header("x-ms-type") != Some("file") || !request.body.is_empty() {
        return Err(storage_error(400, "MissingRequiredHeader"));
    }
    let length = request.header("x-ms-content-length").and_then(|text| text.parse().ok()).ok_or_else(bad)?;
    let mut facts = world.facts();
    facts.attributes = vec!["Archive".to_owned()];
    apply(&mut facts, request, &permissions(world, place)?)?;
    facts.metadata = request.metadata();
    let made = FileNode { facts, content: Arc::new(vec![0; length]), headers: content_headers(request) };
    let answer = described(Response::new(201), &Node::File(made.clone()));
    insert(world, place, |existing| match existing {
        Some(Node::Directory(_)) => Err(storage_error(409, "ResourceTypeMismatch")),
        Some(Node::File(file)) if is_read_only(&file.facts) => Err(storage_error(409, "ReadOnlyAttribute")),
        _ => Ok(Node::File(made)),
    })?;
    Ok(answer)
}

fn put_range(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("PutRange");
    let etag = world.etag();
    let share = place.share(world)?;
    let Node::File(file) = share.root.node_mut(&place.path).map_err(missing)? else {
        return Err(storage_error(409, "ResourceTypeMismatch"));
    };
    if is_read_only(&file.facts) {
        return Err(storage_error(409, "ReadOnlyAttribute"));
    }
    let range = request.header("x-ms-range").or_else(|| request.header("range")).unwrap_or_default();
    let (begin, end) = parse_range(range, file.content.len() as u64)?;
    let target = usize_of(begin)..=usize_of(end);
    let content = Arc::make_mut(&mut file.content);
    match request.header("x-ms-write") {
        Some("update") if request.body.len() as u64 == end - begin + 1 && end - begin < MAX_RANGE => {
            content[target].copy_from_slice(&request.body);
        }
        Some("update") => return Err(storage_error(413, "RequestBodyTooLarge")),
        Some("clear") if request.body.is_empty() => content[target].fill(0),
        _ => return Err(storage_error(400, "InvalidHeaderValue")),
    }
    file.facts.etag = etag;
    file.facts.modified = Timestamp::now();
    if request.header("x-ms-file-last-write-time") != Some("preserve") {
        file.facts.written = Timestamp::now();
    }
    let answer = described(Response::new(201), &Node::File(file.clone()));
    world.content_received += request.body.len() as u64;
    Ok(answer)
}

fn set_file(world: &mut World, place: &Place, request: &Request) -> Served {
    world.note("SetFileProperties");
    let (known, etag) = (permissions(world, place)?, world.etag());
    let share = place.share(world)?;
    let Node::File(file) = share.root.node_mut(&place.path).map_err(missing)? else {
        return Err(storage_error(409, "ResourceTypeMismatch"));
    };
    apply(&mut file.facts, request, &known)?;
    // A header that is not sent is cleared.
    file.headers = content_headers(request);
    file.facts.etag = etag;
    Ok(described(Response::new(200), &Node::File(file.clone())))
}

/// Stores the result of `make`, which gets the existing entry, at the path in the live share.
fn insert(
    world: &mut World,
    place: &Place,
    make: impl FnOnce(Option<&Node>) -> Result<Node, Response>,
) -> Result<(), Response> {
    let share = place.share(world)?;
    let Some((name, parents)) = place.path.split_last() else {
        return Err(storage_error(409, "ResourceAlreadyExists"));
    };
    let parent = share.root.directory_mut(parents).map_err(|_| missing(Missing::Parent))?;
    let node = make(parent.entries.get(&name.to_lowercase()).map(|(_, node)| node))?;
    parent.insert(name, node);
    parent.facts.written = Timestamp::now();
    Ok(())
}

fn file(root: &Directory, place: &Place) -> Result<FileNode, Response> {
    match root.node(&place.path).map_err(missing)? {
        Node::File(file) => Ok(file.clone()),
        Node::Directory(_) => Err(storage_error(404, "ResourceNotFound")),
    }
}

fn permissions(world: &mut World, place: &Place) -> Result<Vec<String>, Response> {
    Ok(place.share(world)?.permissions.keys().cloned().collect())
}

/// Sets attributes, times and permission from the headers; the others are not changed.
fn apply(facts: &mut Facts, request: &Request, permissions: &[String]) -> Result<(), Response> {
    let bad = || storage_error(400, "InvalidHeaderValue");
    if let Some(names) = request.header("x-ms-file-attributes").filter(|names| *names != "preserve") {
        let names = names.split('|').map(str::trim);
        let names = names.filter(|name| !matches!(*name, "" | "None" | "Directory"));
        facts.attributes = names.map(str::to_owned).collect();
    }
    let mut changed = facts.changed;
    for (name, field) in [
        ("x-ms-file-creation-time", &mut facts.created),
        ("x-ms-file-last-write-time", &mut facts.written),
        ("x-ms-file-change-time", &mut changed),
    ] {
        match request.header(name) {
            None | Some("preserve") => {}
            Some("now") => *field = Timestamp::now(),
            Some(text) => *field = text.parse().map_err(|_| bad())?,
        }
    }
    facts.changed = changed;
    match (request.header("x-ms-file-permission"), request.header("x-ms-file-permission-key")) {
        (None, None) | (Some("inherit" | "preserve"), None) => Ok(()),
        (Some(_), None) => {
            PERMISSION_KEY.clone_into(&mut facts.permission_key);
            Ok(())
        }
        (None, Some(key)) if permissions.iter().any(|known| known == key) => {
            key.clone_into(&mut facts.permission_key);
            Ok(())
        }
        _ => Err(bad()),
    }
}

fn content_headers(request: &Request) -> BTreeMap<String, String> {
    let sent = CONTENT.iter().filter_map(|(sent, answered)| {
        request
            .header(sent)
            .filter(|value| !value.is_empty())
            .map(|value| ((*answered).to_owned(), value.to_owned()))
    });
    let mut headers: BTreeMap<_, _> = sent.collect();
    headers.entry("Content-Type".to_owned()).or_insert_with(|| "application/octet-stream".to_owned());
    headers
}

fn is_read_only(facts: &Facts) -> bool {
    facts.attributes.iter().any(|name| name == "ReadOnly")
}

/// Adds the headers that describe a file or directory.
fn described(mut answer: Response, node: &Node) -> Response {
    let facts = node.facts();
    answer = answer
        .with("ETag", facts.etag.clone())
        .with("Last-Modified", http_date(facts.modified))
        .with("x-ms-file-attributes", attributes(node, "|"))
        .with("x-ms-file-creation-time", stamp(facts.created))
        .with("x-ms-file-last-write-time", stamp(facts.written))
        .with("x-ms-file-change-time", stamp(facts.changed))
        .with("x-ms-file-permission-key", facts.permission_key.clone())
        .with("x-ms-file-id", facts.id.to_string())
        .with("x-ms-file-parent-id", "0");
    for (name, value) in &facts.metadata {
        answer = answer.with(&format!("x-ms-meta-{name}"), value);
    }
    if let Node::File(file) = node {
        answer = answer.with("x-ms-type", "File");
        for (name, value) in &file.headers {
            // Of a part of a file the checksum of the whole has a header of its own.
            let name = if name == "Content-MD5" && answer.status == 206 { "x-ms-content-md5" } else { name };
            answer = answer.with(name, value);
        }
    }
    answer
}

fn parse_range(text: &str, length: u64) -> Result<(u64, u64), Response> {
    let bad = || storage_error(400, "InvalidHeaderValue");
    let (begin, end) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')).ok_or_else(bad)?;
    let begin: u64 = begin.parse().map_err(|_| bad())?;
    let end = if end.is_empty() { u64::MAX } else { end.parse().map_err(|_| bad())? };
    if begin >= length || begin > end {
        return Err(storage_error(416, "InvalidRange"));
    }
    Ok((begin, end.min(length - 1)))
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("files of the fake fit into memory")
}
