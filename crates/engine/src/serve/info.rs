//! What the server says of itself: models, health, numbers, properties.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::failure::{Failure, json_response};
use super::served::Served;
use crate::worker::State as Worker;

type Answer = Result<Response<Body>, Failure>;

fn ok(body: &impl Serialize) -> Answer {
    Ok(json_response(StatusCode::OK, body))
}

#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// `ok`.
    status: &'static str,
    /// Sequences that have a slot.
    running: usize,
    /// Those that wait for one.
    waiting: usize,
}

#[derive(Serialize, ToSchema)]
pub struct Models {
    /// `list`.
    object: &'static str,
    data: Vec<Model>,
    /// False.
    has_more: bool,
    first_id: String,
    last_id: String,
}

#[derive(Serialize, ToSchema)]
pub struct Model {
    id: String,
    /// `model`.
    object: &'static str,
    /// Unix seconds.
    created: u64,
    owned_by: &'static str,
    meta: ModelMeta,
    /// `model`: what follows is for Anthropic's clients.
    r#type: &'static str,
    display_name: String,
    created_at: String,
    /// `active`.
    lifecycle: &'static str,
}

#[derive(Serialize, ToSchema)]
struct ModelMeta {
    n_vocab: usize,
    /// Positions of the pool.
    n_ctx: usize,
    /// Positions that the model was made for.
    n_ctx_train: usize,
    /// Bytes of its weights.
    size: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Props {
    default_generation_settings: DefaultSettings,
    /// Sequences that are computed side by side.
    total_slots: usize,
    model_alias: String,
    modalities: Modalities,
    chat_template: String,
    chat_template_caps: Option<TemplateCaps>,
    bos_token: String,
    eos_token: String,
    architecture: String,
    device: String,
    build_info: &'static str,
}

#[derive(Serialize, ToSchema)]
struct DefaultSettings {
    n_ctx: usize,
    params: DefaultSampling,
}

#[derive(Serialize, ToSchema)]
struct DefaultSampling {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    repeat_last_n: u32,
}

#[derive(Serialize, ToSchema)]
struct Modalities {
    vision: bool,
    video: bool,
    audio: bool,
}

/// What the chat template can write.
#[derive(Serialize, ToSchema)]
struct TemplateCaps {
    supports_system_role: bool,
    supports_string_content: bool,
    supports_typed_content: bool,
    supports_tools: bool,
    supports_tool_calls: bool,
    supports_object_arguments: bool,
}

/// `GET /health`: whether there is a model.
pub async fn health(State(app): State<Arc<App>>) -> Answer {
    app.served()?;
    ok(&Health { status: "ok" })
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
    ok(&Readiness { status: "ok", running: status.running(), waiting: status.waiting() })
}

/// `GET /metrics`, for Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let text = app.metrics.text(app.worker.status(), app.worker.capacity().running);
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn card(app: &App, served: &Served) -> Model {
    Model {
        id: served.name.clone(),
        object: "model",
        created: app.created,
        owned_by: "wgllm",
        meta: ModelMeta {
            n_vocab: served.tokenizer.vocab_size(),
            n_ctx: served.context,
            n_ctx_train: served.trained_context,
            size: served.bytes,
        },
        r#type: "model",
        display_name: served.name.clone(),
        created_at: chrono::DateTime::from_timestamp_secs(app.created as i64)
            .unwrap_or_default()
            .to_rfc3339(),
        lifecycle: "active",
    }
}

/// `GET /v1/models`.
pub async fn models(State(app): State<Arc<App>>) -> Answer {
    let served = app.served()?;
    let (first_id, last_id) = (served.name.clone(), served.name.clone());
    ok(&Models { object: "list", data: vec![card(&app, &served)], has_more: false, first_id, last_id })
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
    ok(&Props {
        default_generation_settings: DefaultSettings {
            n_ctx: served.context,
            params: DefaultSampling {
                temperature: sampling.temperature,
                top_k: sampling.top_k,
                top_p: sampling.top_p,
                min_p: sampling.min_p,
                repeat_penalty: sampling.repeat_penalty,
                repeat_last_n: sampling.repeat_last_n,
            },
        },
        total_slots: app.worker.capacity().running,
        model_alias: served.name.clone(),
        modalities: Modalities { vision: false, video: false, audio: false },
        chat_template: template.map_or_else(String::new, |template| template.text().into()),
        chat_template_caps: able.map(|able| TemplateCaps {
            supports_system_role: able.system_role,
            supports_string_content: able.string_content,
            supports_typed_content: able.typed_content,
            supports_tools: able.tools,
            supports_tool_calls: able.tool_calls,
            supports_object_arguments: able.object_arguments,
        }),
        bos_token: control(served.tokenizer.bos()).into(),
        eos_token: control(served.tokenizer.eos()).into(),
        architecture: served.architecture.clone(),
        device: served.device.clone(),
        build_info: concat!("wgllm ", env!("CARGO_PKG_VERSION")),
    })
}
