//! What the server says of itself: models, health, numbers, properties.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::App;
use super::failure::{Failure, json_response};
use super::served::Served;
use crate::worker::State as Worker;

type Answer = Result<Response<Body>, Failure>;

fn ok(body: &Value) -> Answer {
    Ok(json_response(StatusCode::OK, body))
}

/// `GET /health`: whether there is a model.
pub async fn health(State(app): State<Arc<App>>) -> Answer {
    app.served()?;
    ok(&json!({ "status": "ok" }))
}

/// `GET /ready`: whether another request would be taken.
pub async fn ready(State(app): State<Arc<App>>) -> Answer {
    app.served()?;
    let (status, capacity) = (app.worker.status(), app.worker.capacity());
    if app.is_draining() {
        return Err(Failure::unavailable("the server is shutting down"));
    }
    if status.state() != Worker::Ready {
        return Err(Failure::unavailable("the device is being opened again"));
    }
    if status.taken() >= capacity.running + capacity.waiting {
        return Err(Failure::unavailable("the queue is full"));
    }
    ok(&json!({ "status": "ok", "running": status.running(), "waiting": status.waiting() }))
}

/// `GET /metrics`, for Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let text = app.metrics.text(app.worker.status(), app.worker.capacity().running);
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn card(app: &App, served: &Served) -> Value {
    json!({
        "id": served.name, "object": "model", "created": app.created, "owned_by": "wgllm",
        "meta": {
            "n_vocab": served.tokenizer.vocab_size(), "n_ctx": served.context,
            "n_ctx_train": served.trained_context, "size": served.bytes,
        },
    })
}

/// `GET /v1/models`.
pub async fn models(State(app): State<Arc<App>>) -> Answer {
    let served = app.served()?;
    ok(&json!({ "object": "list", "data": [card(&app, &served)] }))
}

/// `GET /v1/models/NAME`.
pub async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Answer {
    let served = app.served()?;
    match name == served.name {
        true => ok(&card(&app, &served)),
        false => Err(Failure::path(&format!("/v1/models/{name}"))),
    }
}

/// `GET /props`: what llama.cpp's clients ask for.
pub async fn props(State(app): State<Arc<App>>) -> Answer {
    let served = app.served()?;
    let sampling = &app.settings.sampling;
    let control = |id: Option<u32>| id.and_then(|id| served.tokenizer.control_text(id)).unwrap_or_default();
    let template = served.template.as_ref().ok();
    let able = template.map(|template| template.capabilities());
    ok(&json!({
        "default_generation_settings": {
            "n_ctx": served.context,
            "params": {
                "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p,
                "min_p": sampling.min_p, "repeat_penalty": sampling.repeat_penalty,
                "repeat_last_n": sampling.repeat_last_n,
            },
        },
        "total_slots": app.worker.capacity().running,
        "model_alias": served.name,
        "modalities": { "vision": false, "video": false, "audio": false },
        "chat_template": template.map_or("", |template| template.text()),
        "chat_template_caps": able.map(|able| json!({
            "supports_system_role": able.system_role, "supports_string_content": able.string_content,
            "supports_typed_content": able.typed_content, "supports_tools": able.tools,
            "supports_tool_calls": able.tool_calls, "supports_object_arguments": able.object_arguments,
        })),
        "bos_token": control(served.tokenizer.bos()), "eos_token": control(served.tokenizer.eos()),
        "architecture": served.architecture, "device": served.device,
        "build_info": concat!("wgllm ", env!("CARGO_PKG_VERSION")),
    }))
}
