//! `GET /openapi.json`: what the routes say of themselves, in OpenAPI 3.1. Schemas are those of the types that are read and written.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::failure::{AnthropicError, ErrorBody, json_response};
use super::route::{Answers, Route, routes};
use super::schema::Schema;

/// What may go wrong anywhere, and where a body is read.
const OF_ALL: &[(u16, &str)] = &[
    (401, "No API key, or a wrong one"),
    (403, "A page of another origin asks"),
    (500, "The server is at fault"),
    (503, "The model is not there yet, or not any more"),
];
const OF_BODIES: &[(u16, &str)] = &[
    (400, "A field makes no sense or asks for what is not there, and is named"),
    (408, "The body did not come in time"),
    (413, "The body is too large"),
    (415, "The body is packed"),
    (429, "The queue is full"),
    (504, "The answer took too long"),
];

/// Schemas by name, which are gathered while they are referred to.
#[derive(Default)]
pub struct Schemas(Map<String, Value>);

impl Schemas {
    /// A reference to the schema of a type, or the schema where it has no name.
    pub fn of<T: ToSchema + 'static>(&mut self) -> Value {
        let schema = Schema::of::<T>();
        self.0.extend(schema.named().clone());
        self.0.insert(T::name().into_owned(), schema.root().clone());
        json!({ "$ref": format!("#/components/schemas/{}", T::name()) })
    }
}

/// The document of these routes.
pub fn document(routes: &[Route]) -> Value {
    let mut schemas = Schemas::default();
    let openai = schemas.of::<ErrorBody>();
    let anthropic = schemas.of::<AnthropicError>();
    let mut paths = Map::new();
    for route in routes {
        let error = if route.path.starts_with("/v1/messages") { &anthropic } else { &openai };
        // axum's `{*name}` is any rest; OpenAPI has no such thing.
        paths.insert(
            route.path.replace("{*", "{"),
            json!({ route.method: operation(route, error, &mut schemas) }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wgllm", "version": env!("CARGO_PKG_VERSION"), "license": { "name": env!("CARGO_PKG_LICENSE") },
            "description": "A model behind the endpoints that OpenAI's and Anthropic's clients know. Fields that are not known are ignored.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.0,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
        // Keys are asked for only where the server was given some.
        "security": [{}, { "bearer": [] }, { "key": [] }],
    })
}

fn operation(route: &Route, error: &Value, schemas: &mut Schemas) -> Value {
    let mut content = Map::new();
    match &route.answers {
        Answers::Json(of) => {
            drop(content.insert("application/json".into(), json!({ "schema": of(schemas) })))
        }
        Answers::Events { whole, event } => {
            content.insert("application/json".into(), json!({ "schema": whole(schemas) }));
            let event = event.map(|event| event(schemas));
            // OpenAPI 3.1 has no schemas for streams: where events are of one kind, this is that of each one's data.
            content.insert("text/event-stream".into(), json!({ "x-event-schema": event }));
        }
        Answers::Text(kind) => {
            content.insert((*kind).into(), json!({ "schema": { "type": "string" } }));
        }
    }
    let mut responses = Map::new();
    responses.insert("200".into(), json!({ "description": "The answer", "content": content }));
    let of_bodies = if route.body.is_some() { OF_BODIES } else { &[] };
    let of_paths: &[(u16, &str)] =
        if route.path.contains('{') { &[(404, "There is nothing of this name")] } else { &[] };
    for (status, what) in OF_ALL.iter().chain(of_bodies).chain(of_paths) {
        let content = json!({ "application/json": { "schema": error } });
        responses.insert(status.to_string(), json!({ "description": what, "content": content }));
    }
    let mut operation = json!({ "summary": route.summary, "responses": responses });
    if let Some(body) = &route.body {
        let content = json!({ "application/json": { "schema": body(schemas) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if let Some((_, name)) = route.path.split_once("{*") {
        let name = name.trim_end_matches('}');
        let of = json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
        operation["parameters"] = json!([of]);
    }
    operation
}

/// Answers with the document, which is made once.
pub async fn answer() -> Response<Body> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(&routes()));
    json_response(StatusCode::OK, &*DOCUMENT)
}
