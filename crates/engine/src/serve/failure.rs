//! What goes wrong with a request, as its client is told: a status, and the object that OpenAI's clients know.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::Error;
use crate::worker::Refused;

/// Seconds after which a client may come again when the queue is full.
const RETRY_AFTER: u64 = 1;

/// What stands in place of an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    error: ErrorTold,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ErrorDetails)]
struct ErrorTold {
    message: String,
    /// The kind of error.
    r#type: &'static str,
    /// The field that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
    /// Tokens of a prompt that does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    n_prompt_tokens: Option<usize>,
    /// Positions that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    n_ctx: Option<usize>,
}

/// The same for Anthropic's clients.
#[derive(Serialize, ToSchema)]
pub struct AnthropicError {
    /// `error`.
    r#type: &'static str,
    error: AnthropicErrorTold,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicErrorDetails)]
struct AnthropicErrorTold {
    /// The kind of error.
    r#type: &'static str,
    message: String,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub struct Failure {
    pub status: StatusCode,
    /// OpenAI's name of the kind.
    kind: &'static str,
    code: Option<&'static str>,
    /// The field that is wrong.
    param: Option<String>,
    pub message: String,
    /// Tokens of a prompt that does not fit, and positions that there are.
    fit: Option<(usize, usize)>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, kind, code: None, param: None, message: message.into(), fit: None }
    }

    /// How deep in a request it is wrong.
    pub fn depth(&self) -> usize {
        self.param.as_ref().map_or(0, |name| name.matches(['.', '[']).count())
    }

    /// The request as a whole makes no sense.
    pub fn request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// This field of it makes none.
    pub fn field(name: impl Into<String>, what: impl std::fmt::Display) -> Failure {
        let name = name.into();
        let message = format!("'{name}' {what}");
        Failure { param: Some(name), ..Failure::request(message) }
    }

    /// This field asks for what is not there.
    pub fn unsupported(name: impl Into<String>, what: impl std::fmt::Display) -> Failure {
        Failure { code: Some("unsupported_parameter"), ..Failure::field(name, what) }
    }

    /// A prompt of `needed` tokens is longer than the context.
    pub fn too_long(needed: usize, available: usize) -> Failure {
        let message = format!(
            "the prompt has {needed} tokens, and the context {available} positions: shorten it, or start the server with a larger -c"
        );
        let fit = Some((needed, available));
        Failure { code: Some("context_length_exceeded"), fit, ..Failure::request(message) }
    }

    /// The body has more bytes than are read.
    pub fn too_large(limit: usize) -> Failure {
        let message = format!("the body is larger than {limit} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    /// The body is packed in a way that is not read.
    pub fn coding(coding: &str) -> Failure {
        let message = format!("the body has content-encoding {coding:?}, expected none");
        Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message)
    }

    /// The client took too long, or the answer does.
    pub fn timeout(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure::new(status, "timeout_error", message)
    }

    /// The answer takes too long.
    pub fn slow() -> Failure {
        let message = "the answer took longer than the server allows (--request-timeout)";
        Failure::timeout(StatusCode::GATEWAY_TIMEOUT, message)
    }

    /// No key, or a wrong one.
    pub fn key() -> Failure {
        let message =
            "no API key, or a wrong one: give the server's in the header Authorization, behind 'Bearer '";
        let code = Some("invalid_api_key");
        Failure { code, ..Failure::new(StatusCode::UNAUTHORIZED, "authentication_error", message) }
    }

    /// A page from elsewhere asks.
    pub fn origin() -> Failure {
        let message = "requests from pages of other origins are refused; start the server with --cors ORIGIN";
        Failure::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// Nothing is at this path.
    pub fn path(path: &str) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "not_found_error", format!("there is nothing at {path}"))
    }

    /// The path is there for another method.
    pub fn method(method: &str, path: &str) -> Failure {
        let message = format!("{path} does not take {method}");
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// The model is not there yet, or not any more.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", message)
    }

    /// It is our fault.
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// What OpenAI's clients read.
    pub fn json(&self) -> Value {
        json!(ErrorBody {
            error: ErrorTold {
                message: self.message.clone(),
                r#type: self.kind,
                param: self.param.clone(),
                code: self.code,
                n_prompt_tokens: self.fit.map(|(needed, _)| needed),
                n_ctx: self.fit.map(|(_, available)| available),
            }
        })
    }

    /// What Anthropic's clients read.
    pub fn anthropic(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            status if status.is_server_error() => "api_error",
            _ => self.kind,
        };
        let error = AnthropicErrorTold { r#type: kind, message: self.message.clone() };
        json!(AnthropicError { r#type: "error", error })
    }

    /// The response to a request at this path, in the form that its clients read.
    pub fn at(&self, path: &str) -> Response<Body> {
        match path.starts_with("/v1/messages") {
            true => self.response(&self.anthropic()),
            false => self.response(&self.json()),
        }
    }

    /// The response with this body.
    pub fn response(&self, body: &Value) -> Response<Body> {
        let mut response = json_response(self.status, body);
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        self.response(&self.json())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Usage(_) => Failure::request(message),
            Error::OutOfMemory(_) | Error::Lost(_) | Error::Interrupted => Failure::unavailable(message),
            Error::Model(_) | Error::Device(_) | Error::Other(_) => Failure::internal(message),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Full => {
                let message = "the queue is full: try again in a moment";
                Failure::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
            }
            Refused::Ended => Failure::unavailable("the server is shutting down"),
        }
    }
}

/// A response of JSON.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // What is sent has texts for keys, and such JSON can always be written.
    let mut response = Response::new(Body::from(serde_json::to_string(body).unwrap_or_default()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
