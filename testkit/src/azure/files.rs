//! The File service: authorization, shares, their snapshots and permissions.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::{
    entries,
    fake::STORAGE_SCOPE,
    http::{Request, Response, decode},
    listing, signature,
    tree::{Directory, Share, Snapshot},
    world::{Account, World, http_date, storage_error},
};

/// The target of a request.
pub struct Place {
    pub account: String,
    pub share: String,
    /// Parts of the path below the share, decoded.
    pub path: Vec<String>,
    pub snapshot: Option<String>,
}

impl Place {
    fn of(request: &Request) -> Self {
        // Microsoft's clients send the slashes of a directory's path as %2F.
        let path = decode(request.path());
        let mut parts = path.trim_start_matches('/').split('/').map(str::to_owned);
        let account = parts.next().unwrap_or_default();
        let share = parts.next().unwrap_or_default();
        let dots = request.header("x-ms-allow-trailing-dot") == Some("true");
        let parts = parts.filter(|part| !part.is_empty());
        let path = parts.map(|part| if dots { part } else { part.trim_end_matches('.').to_owned() });
        Self { account, share, path: path.collect(), snapshot: request.parameter("sharesnapshot") }
    }

    /// The share, unless it was deleted.
    pub fn share<'a>(&self, world: &'a mut World) -> Result<&'a mut Share, Response> {
        let share = world.account(&self.account).and_then(|account| account.shares.get_mut(&self.share));
        share.filter(|share| !share.deleted).ok_or_else(|| storage_error(404, "ShareNotFound"))
    }

    /// The content of the share or the snapshot.
    pub fn root<'a>(&self, world: &'a mut World) -> Result<&'a Directory, Response> {
        let share = self.share(world)?;
        match &self.snapshot {
            None => Ok(&share.root),
            Some(id) => share
                .snapshots
                .iter()
                .find(|known| known.id == *id)
                .map(|known| &*known.root)
                .ok_or_else(|| storage_error(404, "ShareNotFound")),
        }
    }
}

/// Serves a request to the File service.
pub fn serve(world: &mut World, request: &Request) -> Response {
    let place = Place::of(request);
    if let Err(refusal) = authorize(world, &place.account, request) {
        return refusal;
    }
    let served = if place.share.is_empty() {
        list_shares(world, &place, request)
    } else if request.parameter("restype").as_deref() == Some("share") {
        share(world, &place, request)
    } else {
        entries::serve(world, &place, request)
    };
    served.unwrap_or_else(|refusal| refusal)
}

fn authorize(world: &mut World, name: &str, request: &Request) -> Result<(), Response> {
    let tokens = world.tokens.clone();
    let account = world.account(name).ok_or_else(|| storage_error(404, "ResourceNotFound"))?;
    if account.firewall {
        return Err(storage_error(403, "AuthorizationFailure"));
    }
    let versions = "2025-05-05".."2030-01-01";
    if !request.header("x-ms-version").is_some_and(|version| versions.contains(&version)) {
        return Err(storage_error(400, "InvalidHeaderValue"));
    }
    match request.header("authorization").and_then(|value| value.split_once(' ')) {
        Some(("SharedKey", value)) => shared_key(account, value, request),
        Some(("Bearer", token)) => {
            if tokens.get(token).is_none_or(|scope| scope != STORAGE_SCOPE) {
                return Err(storage_error(401, "InvalidAuthenticationInfo"));
            }
            if request.header("x-ms-file-request-intent") != Some("backup") {
                return Err(storage_error(400, "MissingRequiredHeader"));
            }
            if account.role { Ok(()) } else { Err(storage_error(403, "AuthorizationPermissionMismatch")) }
        }
        _ => Err(storage_error(401, "NoAuthenticationInformation")),
    }
}

fn shared_key(account: &Account, value: &str, request: &Request) -> Result<(), Response> {
    let refusal = || storage_error(403, "AuthenticationFailed");
    let (name, signature) = value.split_once(':').ok_or_else(refusal)?;
    let date = request.header("x-ms-date").or_else(|| request.header("date")).unwrap_or_default();
    let date = jiff::fmt::rfc2822::parse(date).map_err(|_| refusal())?.timestamp();
    let late = date.duration_until(Timestamp::now()).abs() > jiff::SignedDuration::from_mins(15);
    let signed = [&account.key, &account.second_key]
        .into_iter()
        .any(|key| signature::is_right(request, name, key, signature));
    if late || name != account.name || !signed {
        return Err(refusal());
    }
    if account.shared_key == Some(false) {
        return Err(storage_error(403, "KeyBasedAuthenticationNotPermitted"));
    }
    Ok(())
}

fn list_shares(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    if request.method != "GET" || request.parameter("comp").as_deref() != Some("list") {
        return Err(storage_error(400, "InvalidQueryParameterValue"));
    }
    world.note("ListShares");
    let page_size = world.page_size;
    let base = format!("{}/{}/", world.base, place.account);
    let account = world.account(&place.account).ok_or_else(|| storage_error(404, "ResourceNotFound"))?;
    Ok(listing::shares(account, &base, page_size, request))
}

fn share(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    let component = request.parameter("comp").unwrap_or_default();
    match (request.method.as_str(), component.as_str()) {
        ("PUT", "") => create(world, place, request),
        ("GET" | "HEAD", "") => properties(world, place),
        ("DELETE", "") => delete(world, place, request),
        ("PUT", "snapshot") => snapshot(world, place, request),
        ("PUT", "filepermission") => create_permission(world, place, request),
        ("GET", "filepermission") => permission(world, place, request),
        _ => Err(storage_error(400, "InvalidQueryParameterValue")),
    }
}

fn create(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    world.note("CreateShare");
    let known = world.account(&place.account).and_then(|account| account.shares.get(&place.share));
    match known.map(|share| share.deleted) {
        Some(true) => return Err(storage_error(409, "ShareBeingDeleted")),
        Some(false) => return Err(storage_error(409, "ShareAlreadyExists")),
        None => {}
    }
    let quota = request.header("x-ms-share-quota").map_or(Ok(5120), str::parse);
    let quota = quota.map_err(|_| storage_error(400, "InvalidHeaderValue"))?;
    let protocol = request.header("x-ms-enabled-protocols").unwrap_or("SMB");
    let share = world.share(protocol, quota, request.metadata());
    let answer = Response::new(201)
        .with("ETag", share.root.facts.etag.clone())
        .with("Last-Modified", http_date(share.root.facts.modified));
    if let Some(account) = world.account(&place.account) {
        account.shares.insert(place.share.clone(), share);
    }
    Ok(answer)
}

fn properties(world: &mut World, place: &Place) -> Result<Response, Response> {
    world.note("GetShareProperties");
    place.root(world)?;
    let share = place.share(world)?;
    let of_snapshot = share.snapshots.iter().find(|known| Some(&known.id) == place.snapshot.as_ref());
    let metadata = of_snapshot.map_or(&share.metadata, |snapshot| &snapshot.metadata);
    let mut answer = Response::new(200)
        .with("ETag", share.root.facts.etag.clone())
        .with("Last-Modified", http_date(share.root.facts.modified))
        .with("x-ms-share-quota", share.quota.to_string())
        .with("x-ms-enabled-protocols", share.protocol.clone());
    for (name, value) in metadata {
        answer = answer.with(&format!("x-ms-meta-{name}"), value);
    }
    Ok(answer)
}

fn delete(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    let what = format!("{} {}", request.method, request.target);
    let with_snapshots = request.header("x-ms-delete-snapshots").is_some();
    let id = place.snapshot.clone().filter(|id| !id.is_empty());
    if id.is_none() || with_snapshots {
        world.live_share_deletes.push(what);
    }
    let Some(id) = id else {
        world.note("DeleteShare");
        let share = place.share(world)?;
        if !share.snapshots.is_empty() && !with_snapshots {
            return Err(storage_error(409, "ShareHasSnapshots"));
        }
        share.deleted = true;
        return Ok(Response::new(202));
    };
    world.note("DeleteShareSnapshot");
    let share = place.share(world)?;
    let before = share.snapshots.len();
    share.snapshots.retain(|known| known.id != id);
    if share.snapshots.len() == before {
        return Err(storage_error(404, "ShareNotFound"));
    }
    Ok(Response::new(202))
}

fn snapshot(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    world.note("SnapshotShare");
    let now = Timestamp::now();
    let id = format!("{}.{:07}Z", now.strftime("%Y-%m-%dT%H:%M:%S"), world.tick() % 10_000_000);
    let limit = world.account(&place.account).map_or(0, |account| account.snapshot_limit);
    let share = place.share(world)?;
    if share.snapshots.len() >= limit {
        return Err(storage_error(409, "ShareSnapshotCountExceeded"));
    }
    let given = request.metadata();
    let metadata = if given.is_empty() { share.metadata.clone() } else { given };
    share.snapshots.push(Snapshot { id: id.clone(), metadata, root: Arc::new(share.root.clone()) });
    Ok(Response::new(201)
        .with("x-ms-snapshot", id)
        .with("ETag", share.root.facts.etag.clone())
        .with("Last-Modified", http_date(share.root.facts.modified)))
}

fn create_permission(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    world.note("CreatePermission");
    let body: serde_json::Value =
        serde_json::from_slice(&request.body).map_err(|_| storage_error(400, "InvalidInput"))?;
    let text = body["permission"].as_str().ok_or_else(|| storage_error(400, "InvalidInput"))?;
    let number = world.tick();
    let share = place.share(world)?;
    let known = share.permissions.iter().find(|(_, known)| *known == text);
    let key = known.map_or_else(|| format!("{}*{number}", 7_000_000_000 + number), |(key, _)| key.clone());
    share.permissions.insert(key.clone(), text.to_owned());
    Ok(Response::new(201).with("x-ms-file-permission-key", key))
}

fn permission(world: &mut World, place: &Place, request: &Request) -> Result<Response, Response> {
    world.note("GetPermission");
    let key = request.header("x-ms-file-permission-key").unwrap_or_default();
    let share = place.share(world)?;
    let text = share.permissions.get(key).ok_or_else(|| storage_error(404, "FilePermissionNotFound"))?;
    Ok(Response::json(200, &json!({ "permission": text })))
}
