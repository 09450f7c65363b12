//! The JSON API, with the same field names as the command line.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{
    answers::{ItemDetail, Items, Problem, RunDetail, Runs, Sources},
    openapi,
    state::{Shared, aside},
};
use crate::{
    error::Result,
    history::ledger::{Entry, State as ItemState},
};

/// Maximum number of runs in a response.
const RUNS: u32 = 500;

#[derive(Deserialize)]
struct ItemsQuery {
    source: Option<String>,
    state: Option<ItemState>,
    q: Option<String>,
}

#[derive(Deserialize)]
struct ItemQuery {
    source: String,
    #[serde(default)]
    item: String,
}

#[derive(Deserialize)]
struct RunsQuery {
    limit: Option<u32>,
    before: Option<String>,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/status", get(status))
        .route("/items", get(items))
        .route("/item", get(item))
        .route("/sources", get(sources))
        .route("/runs", get(runs))
        .route("/runs/{run}", get(run))
        .route("/openapi.json", get(|| async { Json(openapi::document()) }))
}

fn answer<T: Serialize>(result: Result<Option<T>>) -> Response {
    match result {
        Ok(Some(value)) => Json(value).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "not found"),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn problem(status: StatusCode, text: &str) -> Response {
    (status, Json(Problem { error: text.to_owned() })).into_response()
}

/// Errors for invalid queries are JSON as well.
type Asked<T> = std::result::Result<Query<T>, axum::extract::rejection::QueryRejection>;

async fn status(State(state): State<Shared>) -> Response {
    match aside(&state, |state| state.ledger()).await {
        Ok(ledger) => match serde_json::to_vec(&*ledger) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn items(State(state): State<Shared>, query: Asked<ItemsQuery>) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    answer(
        aside(&state, move |state| {
            let ledger = state.ledger()?;
            let wanted = |entry: &&Entry| {
                query.source.as_ref().is_none_or(|source| entry.source == *source)
                    && query.state.is_none_or(|state| entry.state == state)
                    && query.q.as_ref().is_none_or(|text| super::pages::matches(&entry.name(), text))
            };
            Ok(Some(Items { items: ledger.items.iter().filter(wanted).cloned().collect() }))
        })
        .await,
    )
}

async fn item(State(state): State<Shared>, query: Asked<ItemQuery>) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    answer(
        aside(&state, move |state| {
            Ok(state.item(&query.source, &query.item)?.map(|(entry, past)| ItemDetail { entry, past }))
        })
        .await,
    )
}

async fn sources(State(state): State<Shared>) -> Response {
    answer(aside(&state, |state| Ok(Some(Sources { sources: state.ledger()?.sources.clone() }))).await)
}

async fn runs(State(state): State<Shared>, query: Asked<RunsQuery>) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let limit = query.limit.unwrap_or(50).clamp(1, RUNS);
    answer(
        aside(&state, move |state| Ok(Some(Runs { runs: state.runs(limit, query.before.as_deref())? })))
            .await,
    )
}

async fn run(State(state): State<Shared>, Path(name): Path<String>) -> Response {
    answer(
        aside(&state, move |state| Ok(state.run(&name)?.map(|(run, attempts)| RunDetail { run, attempts })))
            .await,
    )
}
