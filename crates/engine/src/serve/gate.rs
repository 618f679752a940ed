//! What every request passes: keys, origins, and a net under handlers that panic.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use subtle::{Choice, ConstantTimeEq};

use super::App;
use super::failure::Failure;
use super::log::Entry;

/// What needs no key: what balancers ask, and the page, which asks for one.
const OPEN: &[&str] = &["/health", "/v1/health", "/ready", "/"];

/// Takes a request in, and tells of it when it is over.
pub async fn pass(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let settings = &app.settings;
    let entry = Entry::new(
        request.method().as_str(),
        &path,
        settings.log_format,
        settings.lines.clone(),
        app.metrics.clone(),
    );
    request.extensions_mut().insert(entry.clone());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.as_ref().map(|origin| allows(&app, request.headers(), origin));
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if allowed == Some(false) {
        Failure::origin().at(&path)
    } else if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else if !OPEN.contains(&&*path) && !has_key(&settings.keys, request.headers()) {
        Failure::key().at(&path)
    } else {
        caught(next.run(request), &path).await
    };
    if let (Some(origin), true) = (origin, allowed == Some(true) && !settings.origins.is_empty()) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if preflight {
            let set =
                |headers: &mut HeaderMap, name, value| headers.insert(name, HeaderValue::from_static(value));
            set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
            set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, "*, authorization");
            set(headers, header::ACCESS_CONTROL_MAX_AGE, "3600");
        }
    }
    entry.status(response.status());
    if response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != "text/event-stream") {
        entry.complete();
    }
    response
}

/// Whether a page of this origin may ask: our own, and those that were named.
fn allows(app: &App, headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let named = |named: &String| named == "*" || named.as_bytes() == origin.as_bytes();
    if app.settings.origins.iter().any(named) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    // Whoever owns a name can let it point here: only numbers and what never leaves the machine are surely ours.
    host.is_some() && host == origin && host.is_some_and(is_here)
}

/// Whether a host, with or without its port, is a number or `localhost`.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether one of the keys is given, where there are any. Takes the same time for every key of the same length.
fn has_key(keys: &[String], headers: &HeaderMap) -> bool {
    if keys.is_empty() {
        return true;
    }
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let bearer = bearer
        .and_then(|value| value.split_at_checked(7))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case(b"bearer "));
    let given =
        bearer.map(|(_, key)| key.trim_ascii()).or(headers.get("x-api-key").map(HeaderValue::as_bytes));
    let Some(given) = given else { return false };
    keys.iter().fold(Choice::from(0), |found, key| found | key.as_bytes().ct_eq(given)).into()
}

/// The response, or an error where its handler panics.
async fn caught(run: impl Future<Output = Response<Body>>, path: &str) -> Response<Body> {
    let mut run = pin!(run);
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            Poll::Ready(
                Failure::internal("the request failed in an unknown way; others are not concerned").at(path),
            )
        })
    })
    .await
}
