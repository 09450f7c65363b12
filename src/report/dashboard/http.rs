//! The HTTP server: routes, access control and security headers.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    api, pages,
    state::{DashboardState, Shared, aside},
};
use crate::{
    config::{DashboardConfig, Listen},
    error::Result,
    report::metrics,
};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Content security policy: no external resources, nothing inline, no framing.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Access control.
pub(super) struct Gate {
    /// A hash of the token, so that the comparison takes constant time.
    token: Option<[u8; 32]>,
    /// Whether `Host` must be a name of this machine.
    local: bool,
}

impl Gate {
    pub(super) fn new(settings: &DashboardConfig) -> Result<Self> {
        let token = settings.token_file.as_ref().map(crate::settings::SecretFile::load).transpose()?;
        let token = token.map(|token| Sha256::digest(token.expose()).into());
        let local = matches!(&settings.listen, Listen::Tcp(_)) && !settings.behind_proxy;
        Ok(Self { local: local && token.is_none(), token })
    }

    fn refusal(&self, request: &Request<Body>) -> Option<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let response = plain(StatusCode::METHOD_NOT_ALLOWED, "the dashboard is read-only");
            // The connection is closed, because the body is not read.
            let response = with(response, header::CONNECTION, "close");
            return Some(with(response, header::ALLOW, "GET, HEAD"));
        }
        if !request.body().is_end_stream() {
            let response = plain(StatusCode::PAYLOAD_TOO_LARGE, "requests with a body are refused");
            return Some(with(response, header::CONNECTION, "close"));
        }
        let headers = request.headers();
        // Prevents DNS rebinding: another site must not read the dashboard through a visitor's browser.
        if self.local && !headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(is_local)
        {
            return Some(plain(
                StatusCode::MISDIRECTED_REQUEST,
                "the Host header does not name this machine; behind a proxy, set behind_proxy = true",
            ));
        }
        let token = self.token?;
        let shown =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(shown_token);
        if shown.is_some_and(|shown| <[u8; 32]>::from(Sha256::digest(shown)) == token) {
            return None;
        }
        let response = plain(StatusCode::UNAUTHORIZED, "a token is required");
        Some(with(response, header::WWW_AUTHENTICATE, "Basic realm=\"tik-backup\", charset=\"UTF-8\""))
    }
}

/// The token in an `Authorization` header: as a bearer token (RFC 6750), or as the password of basic authentication
/// (RFC 7617), which browsers ask for.
fn shown_token(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

pub(super) fn router(state: Arc<DashboardState>, gate: Gate) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/item", get(item))
        .route("/source", get(source))
        .route("/runs", get(runs))
        .route("/runs/{run}", get(run))
        .route("/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/script.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(healthz))
        .nest("/api/v1", api::router())
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "there is no such path") })
        .with_state(state)
        .layer(middleware::from_fn_with_state(Arc::new(gate), guard))
}

async fn guard(State(gate): State<Arc<Gate>>, request: Request<Body>, next: Next) -> Response {
    let response = match gate.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    secured(response)
}

fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")];
    (headers, text).into_response()
}

fn html(result: Result<Option<maud::Markup>>) -> Response {
    match result {
        Ok(Some(page)) => {
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
        }
        Ok(None) => {
            let page =
                pages::problem("Nothing here", "There is no item, source or run of this name.").into_string();
            (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page)
                .into_response()
        }
        Err(error) => {
            let page = pages::problem("This cannot be shown", &error.to_string()).into_string();
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
        }
    }
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    source: String,
    #[serde(default)]
    item: String,
}

#[derive(Deserialize)]
struct Before {
    before: Option<String>,
}

async fn overview(State(state): State<Shared>, Query(wanted): Query<pages::Filter>) -> Response {
    html(aside(&state, move |state| Ok(Some(pages::overview(&*state.ledger()?, &wanted)))).await)
}

async fn item(State(state): State<Shared>, Query(named): Query<Named>) -> Response {
    html(
        aside(&state, move |state| {
            let found = state.item(&named.source, &named.item)?;
            Ok(found.map(|(entry, past)| pages::item(&state.config, &entry, &past)))
        })
        .await,
    )
}

async fn source(State(state): State<Shared>, Query(named): Query<Named>) -> Response {
    html(
        aside(&state, move |state| {
            let found = state.source(&named.source)?;
            Ok(found.map(|(source, items)| pages::source(&state.config, &source, &items)))
        })
        .await,
    )
}

async fn runs(State(state): State<Shared>, Query(query): Query<Before>) -> Response {
    html(aside(&state, move |state| Ok(Some(pages::runs(&state.runs(50, query.before.as_deref())?)))).await)
}

async fn run(State(state): State<Shared>, Path(name): Path<String>) -> Response {
    html(
        aside(&state, move |state| Ok(state.run(&name)?.map(|(run, attempts)| pages::run(&run, &attempts))))
            .await,
    )
}

async fn prometheus(State(state): State<Shared>) -> Response {
    match aside(&state, |state| metrics::prometheus(&*state.ledger()?)).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Whether this server can answer. Says nothing about the backups.
async fn healthz(State(state): State<Shared>, _: HeaderMap) -> Response {
    match aside(&state, |state| state.ledger().map(|_| ())).await {
        Ok(()) => plain(StatusCode::OK, "ok"),
        Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}
