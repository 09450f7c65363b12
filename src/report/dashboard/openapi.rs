//! The OpenAPI 3.1 description of the API, generated from the response types.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::answers::{ItemDetail, Items, Problem, RunDetail, Runs, Sources};
use crate::history::ledger::{Ledger, State};

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut schemas = settings.into_generator();
    let paths = json!({
        "/api/v1/status": path("Everything: the ledger", reply::<Ledger>(&mut schemas), &[], false, &mut schemas),
        "/api/v1/items": path(
            "Items of the ledger",
            reply::<Items>(&mut schemas),
            &[
                query("source", "Only those of this source", false, json!({"type": "string"})),
                query("state", "Only those in this state", false, reply::<State>(&mut schemas)),
                query("q", "Only those whose name has all of these words in it", false, json!({"type": "string"})),
            ],
            false,
            &mut schemas,
        ),
        "/api/v1/item": path(
            "One item, and all that happened to it",
            reply::<ItemDetail>(&mut schemas),
            &[
                query("source", "Its source", true, json!({"type": "string"})),
                query("item", "Its name; empty for the source itself", false, json!({"type": "string"})),
            ],
            true,
            &mut schemas,
        ),
        "/api/v1/sources": path("The sources", reply::<Sources>(&mut schemas), &[], false, &mut schemas),
        "/api/v1/runs": path(
            "Runs, the newest first",
            reply::<Runs>(&mut schemas),
            &[
                query("limit", "At most so many; 500 at most", false, json!({"type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32})),
                query("before", "Only those older than this run", false, json!({"type": "string"})),
            ],
            false,
            &mut schemas,
        ),
        "/api/v1/runs/{run}": path(
            "One run, and what it tried",
            reply::<RunDetail>(&mut schemas),
            &[json!({
                "name": "run", "in": "path", "required": true, "description": "Its name",
                "schema": {"type": "string", "minLength": 1}
            })],
            true,
            &mut schemas,
        ),
        "/api/v1/openapi.json": path("This description", json!({"type": "object"}), &[], false, &mut schemas),
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tik-backup",
            "description": "What is covered, backed up and proven. Nothing here changes anything.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"}
        },
        "paths": paths,
        "security": [{}, {"token": []}],
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}
        }
    })
}

fn reply<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn query(name: &str, description: &str, required: bool, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": required, "description": description, "schema": schema})
}

fn path(
    summary: &str,
    schema: Value,
    parameters: &[Value],
    may_lack: bool,
    schemas: &mut SchemaGenerator,
) -> Value {
    let failure = reply::<Problem>(schemas);
    let problem = |description: &str| json!({"description": description, "content": {"application/json": {"schema": failure.clone()}}});
    let mut responses = serde_json::Map::new();
    responses.insert(
        "200".to_owned(),
        json!({"description": "Found", "content": {"application/json": {"schema": schema}}}),
    );
    if parameters.iter().any(|parameter| parameter["in"] == "query") {
        responses.insert("400".to_owned(), problem("The query cannot be understood"));
    }
    if may_lack {
        responses.insert("404".to_owned(), problem("Not found"));
    }
    json!({"get": {"summary": summary, "parameters": parameters, "responses": responses}})
}
