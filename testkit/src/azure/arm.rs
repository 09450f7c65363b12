//! The token endpoint and Azure Resource Manager.

use serde_json::{Value, json};

use super::{
    fake::{CLIENT, MANAGEMENT_SCOPE, SECRET, STORAGE_SCOPE, TENANT},
    http::{Request, Response, decode},
    world::{Account, ListKeys, Server, World, arm_error},
};

/// `POST /{tenant}/oauth2/v2.0/token`.
pub fn token(world: &mut World, request: &Request) -> Response {
    world.note("Token");
    let tenant = decode(request.path().trim_start_matches('/').split('/').next().unwrap_or_default());
    let form = request.form();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    if request.method != "POST" {
        return token_error(400, "invalid_request", 900561, "The endpoint only accepts POST requests.");
    }
    if tenant != TENANT {
        let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        return token_error(400, "invalid_request", 90002, &text);
    }
    if field("grant_type") != "client_credentials" {
        return token_error(400, "unsupported_grant_type", 70003, "The grant type is not supported.");
    }
    if field("client_id") != CLIENT {
        let text = format!("Application with identifier '{}' was not found.", field("client_id"));
        return token_error(400, "unauthorized_client", 700_016, &text);
    }
    if field("client_secret") != SECRET {
        return token_error(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
    }
    if world.secret_expired {
        return token_error(401, "invalid_client", 7_000_222, "The provided client secret keys are expired.");
    }
    let scope = field("scope");
    if ![MANAGEMENT_SCOPE, STORAGE_SCOPE].contains(&scope) {
        let text = format!("The resource principal named {scope} was not found in the tenant.");
        return token_error(400, "invalid_resource", 500_011, &text);
    }
    let token = format!("fake-token-{}-{}", world.tick(), "x".repeat(400));
    world.tokens.insert(token.clone(), scope.to_owned());
    let body =
        json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token });
    Response::json(200, &body)
}

fn token_error(status: u16, error: &str, number: u32, text: &str) -> Response {
    let trace = "00000000-0000-0000-0000-00000000f00d";
    let description = format!(
        "AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: 2026-01-01 00:00:00Z"
    );
    let body = json!({
        "error": error, "error_description": description, "error_codes": [number],
        "timestamp": "2026-01-01 00:00:00Z", "trace_id": trace, "correlation_id": trace,
    });
    Response::json(status, &body)
}

/// Everything below `/subscriptions`.
pub fn serve(world: &mut World, request: &Request) -> Response {
    if let Err(refusal) = authorize(world, request) {
        return refusal;
    }
    if request.parameter("api-version").is_none() {
        return arm_error(400, "MissingApiVersionParameter");
    }
    let path = decode(request.path());
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    if parts.len() > 1 && !world.subscriptions.iter().any(|known| known.id == parts[1]) {
        return arm_error(404, "SubscriptionNotFound");
    }
    match (request.method.as_str(), &parts[..]) {
        ("GET", ["subscriptions"]) => {
            world.note("ListSubscriptions");
            let all = world.subscriptions.iter().map(|known| {
                json!({
                    "id": format!("/subscriptions/{}", known.id), "subscriptionId": known.id,
                    "displayName": known.name, "state": known.state, "tenantId": TENANT,
                })
            });
            page(world, request, all.collect())
        }
        ("GET", ["subscriptions", id, "providers", "Microsoft.Storage", "storageAccounts"]) => {
            world.note("ListAccounts");
            let here = world.accounts.iter().filter(|account| account.subscription == *id);
            page(world, request, here.map(account).collect())
        }
        ("GET", ["subscriptions", id, "providers", provider, "flexibleServers"]) => {
            world.note("ListServers");
            let here = world.servers.iter().filter(|known| known.subscription == *id);
            let here = here.filter(|known| known.provider.eq_ignore_ascii_case(provider));
            page(world, request, here.map(server).collect())
        }
        ("POST", [.., "Microsoft.Storage", "storageAccounts", _, "listKeys"]) => {
            world.note("ListKeys");
            list_keys(world, path.trim_end_matches("/listKeys"))
        }
        _ => arm_error(404, "InvalidResourceType"),
    }
}

fn authorize(world: &World, request: &Request) -> Result<(), Response> {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match token.map(|token| world.tokens.get(token)) {
        None => Err(arm_error(401, "AuthenticationFailed")),
        Some(None) => Err(arm_error(401, "InvalidAuthenticationToken")),
        Some(Some(scope)) if scope != MANAGEMENT_SCOPE => {
            Err(arm_error(401, "InvalidAuthenticationTokenAudience"))
        }
        Some(Some(_)) => Ok(()),
    }
}

fn list_keys(world: &World, id: &str) -> Response {
    match world.accounts.iter().find(|account| account.id().eq_ignore_ascii_case(id)) {
        None => arm_error(404, "ResourceNotFound"),
        Some(Account { list_keys: ListKeys::Forbidden, .. }) => arm_error(403, "AuthorizationFailed"),
        Some(Account { list_keys: ListKeys::Locked, .. }) => arm_error(409, "ScopeLocked"),
        Some(Account { key, second_key, .. }) => {
            let named =
                |name: &str, key: &str| json!({ "keyName": name, "value": key, "permissions": "FULL" });
            Response::json(200, &json!({ "keys": [named("key1", key), named("key2", second_key)] }))
        }
    }
}

fn account(account: &Account) -> Value {
    let mut endpoints = json!({});
    for (name, endpoint) in [("blob", &account.blob_endpoint), ("file", &account.file_endpoint)] {
        if let Some(endpoint) = endpoint {
            endpoints[name] = json!(endpoint);
        }
    }
    let mut properties = json!({
        "provisioningState": "Succeeded", "primaryEndpoints": endpoints, "primaryLocation": "westeurope",
    });
    // Unset fields are omitted.
    if account.hierarchical {
        properties["isHnsEnabled"] = json!(true);
    }
    if let Some(allowed) = account.shared_key {
        properties["allowSharedKeyAccess"] = json!(allowed);
    }
    json!({
        "id": account.id(), "name": account.name, "type": "Microsoft.Storage/storageAccounts",
        "kind": account.kind, "location": "westeurope", "properties": properties,
        "sku": { "name": "Standard_LRS", "tier": "Standard" },
    })
}

fn server(server: &Server) -> Value {
    json!({
        "id": format!("/subscriptions/{}/resourceGroups/rg/providers/{}/flexibleServers/{}",
            server.subscription, server.provider, server.name),
        "name": server.name, "type": format!("{}/flexibleServers", server.provider), "location": "westeurope",
        "properties": { "fullyQualifiedDomainName": server.host, "version": server.version,
            "state": server.state },
    })
}

fn page(world: &World, request: &Request, all: Vec<Value>) -> Response {
    let begin = request.parameter("$skiptoken").and_then(|token| token.parse().ok()).unwrap_or(0);
    let end = all.len().min(begin + world.page_size);
    let mut body = json!({ "value": all.get(begin..end).unwrap_or_default() });
    if end < all.len() {
        let base = world.next_link_base.as_ref().unwrap_or(&world.base);
        let version = request.parameter("api-version").unwrap_or_default();
        let path = request.path();
        body["nextLink"] = json!(format!("{base}{path}?api-version={version}&%24skiptoken={end}"));
    }
    Response::json(200, &body)
}
