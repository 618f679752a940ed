//! `POST /v1/chat/completions`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer::{Asking, Form};
use super::failure::Failure;
use super::fields::Fields;
use super::generation::{Generation, Part, Reason, TokenLogprob, Usage, Wanted};
use super::params::{Limit, Params, fresh_id};
use super::schema::Never;
use super::served::Served;
use super::{constrained, conversation, now, sse};

/// What asks for something that is not there.
const UNSUPPORTED: &[&str] = &["functions", "function_call", "audio", "prediction", "web_search_options"];

/// The fields that only chats have.
#[derive(Deserialize, ToSchema)]
pub struct ChatRequest {
    max_completion_tokens: Option<Limit>,
    /// The same under its older name.
    max_tokens: Option<Limit>,
    /// The same under llama.cpp's name.
    n_predict: Option<Limit>,
    /// Tells of each token how likely it was.
    logprobs: Option<bool>,
    /// How many likely tokens are told beside each; needs `logprobs`.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<u32>,
    /// `text` is the one that there is.
    modalities: Option<Vec<String>>,
}

/// What is the same in all of an answer.
pub struct Chat {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
}

/// A whole answer.
#[derive(Serialize, ToSchema)]
pub struct ChatCompletion {
    id: String,
    /// `chat.completion`.
    object: &'static str,
    /// Unix seconds.
    created: u64,
    model: String,
    system_fingerprint: &'static str,
    choices: Vec<ChatChoice>,
    usage: UsageTold,
}

#[derive(Serialize, ToSchema)]
struct ChatChoice {
    index: usize,
    message: ChatAnswer,
    logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    finish_reason: &'static str,
}

/// What the model said.
#[derive(Serialize, ToSchema)]
struct ChatAnswer {
    /// `assistant`.
    role: &'static str,
    /// Null where it only called tools.
    content: Option<String>,
    refusal: Never,
    annotations: Vec<Never>,
    /// What it thought before.
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallTold>,
}

/// A call of a tool.
#[derive(Serialize, ToSchema)]
#[schema(as = ToolCall)]
struct CallTold {
    id: String,
    /// `function`.
    r#type: &'static str,
    function: FunctionTold,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FunctionCall)]
struct FunctionTold {
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

/// How likely the tokens were.
#[derive(Serialize, ToSchema)]
struct ChatLogprobs {
    content: Vec<TokenTold>,
    refusal: Never,
}

/// A token, and what was likely in its place.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenLogprob)]
struct TokenTold {
    #[serde(flatten)]
    token: LikelyToken,
    top_logprobs: Vec<LikelyToken>,
}

#[derive(Serialize, ToSchema)]
struct LikelyToken {
    id: u32,
    token: String,
    bytes: Vec<u8>,
    /// The logarithm of its probability.
    logprob: f32,
}

/// A piece of an answer.
#[derive(Serialize, ToSchema)]
pub struct ChatChunk {
    id: String,
    /// `chat.completion.chunk`.
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: &'static str,
    /// None in the last one, which tells what was used.
    choices: Vec<ChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageTold>,
}

#[derive(Serialize, ToSchema)]
struct ChunkChoice {
    index: usize,
    delta: Delta,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

/// What is added to a choice.
#[derive(Default, Serialize, ToSchema)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallDelta>,
}

/// What is added to a call; its id and name come first.
#[derive(Serialize, ToSchema)]
struct CallDelta {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta,
}

#[derive(Serialize, ToSchema)]
struct FunctionDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

/// Tokens that were used.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageTold {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize, ToSchema)]
struct PromptDetails {
    /// Those that were computed before.
    cached_tokens: usize,
}

#[derive(Serialize, ToSchema)]
struct CompletionDetails {
    reasoning_tokens: usize,
}

/// A choice that is put together.
#[derive(Default)]
struct Message {
    content: String,
    reasoning: String,
    calls: Vec<CallTold>,
    logprobs: Vec<TokenTold>,
    finish: &'static str,
}

impl Form for Chat {
    async fn read(asking: &Asking, mut fields: Fields) -> Result<(Chat, Wanted), Failure> {
        let mut params = Params::read(&mut fields, &asking.app.settings)?;
        let own: ChatRequest = fields.take()?;
        params.set_limit([
            ("max_completion_tokens", own.max_completion_tokens),
            ("max_tokens", own.max_tokens),
            ("n_predict", own.n_predict),
        ])?;
        match (own.logprobs.unwrap_or(false), own.top_logprobs) {
            (true, top) => params.sampling.logprobs = Some(top.unwrap_or(0)),
            (false, Some(_)) => return Err(Failure::field("top_logprobs", "needs 'logprobs': true")),
            (false, None) => {}
        }
        let format = constrained::output_format(&mut fields)?;
        for name in UNSUPPORTED {
            fields.refuse(name, "is not supported")?;
        }
        if own.modalities.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
            return Err(Failure::unsupported("modalities", "asks for more than text"));
        }
        let mut asked = conversation::read(&mut fields, &asking.served)?;
        asked.structure.format = format;
        let (model, include_usage) = (asking.served.name.clone(), params.include_usage);
        let chat = Chat { id: fresh_id("chatcmpl-", 24), created: now(), model, include_usage };
        Ok((chat, asking.conversation(asked, params).await?))
    }

    async fn whole(&self, mut generation: Generation<'_>) -> Result<Value, Failure> {
        let mut messages: Vec<Message> = Vec::new();
        let mut with_logprobs = false;
        while let Some((n, part)) = generation.next().await? {
            while messages.len() <= n {
                messages.push(Message::default());
            }
            let message = &mut messages[n];
            match part {
                Part::Reasoning(text) => message.reasoning += &text,
                Part::Text(text) => message.content += &text,
                Part::Call { id, name, .. } => {
                    let function = FunctionTold { name, arguments: String::new() };
                    message.calls.push(CallTold { id, r#type: "function", function });
                }
                Part::Arguments { text, .. } => {
                    if let Some(call) = message.calls.last_mut() {
                        call.function.arguments += &text;
                    }
                }
                Part::Logprob(logprob) => {
                    with_logprobs = true;
                    message.logprobs.push(token(generation.served(), &logprob));
                }
                Part::Finished(reason) => message.finish = reason.name(),
            }
        }
        let choice = |(index, message): (usize, Message)| ChatChoice {
            index,
            logprobs: with_logprobs.then_some(ChatLogprobs { content: message.logprobs, refusal: Never }),
            finish_reason: message.finish,
            message: ChatAnswer {
                role: "assistant",
                content: (message.calls.is_empty() || !message.content.is_empty()).then_some(message.content),
                refusal: Never,
                annotations: Vec::new(),
                reasoning_content: message.reasoning,
                tool_calls: message.calls,
            },
        };
        Ok(json!(ChatCompletion {
            id: self.id.clone(),
            object: "chat.completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: super::FINGERPRINT,
            choices: messages.into_iter().enumerate().map(choice).collect(),
            usage: UsageTold::of(&generation.usage),
        }))
    }

    async fn streamed(&self, mut generation: Generation<'_>, events: &sse::Events) -> Result<(), Failure> {
        let mut begun = Vec::new();
        // Of tokens whose text has not come yet.
        let mut logprobs: Vec<Vec<TokenTold>> = Vec::new();
        while let Some((n, part)) = generation.next().await? {
            while begun.len() <= n {
                begun.push(false);
                logprobs.push(Vec::new());
            }
            if !std::mem::replace(&mut begun[n], true) {
                let delta =
                    Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
                self.chunk(n, delta, None, None, events).await;
            }
            let mut finish = None;
            let delta = match part {
                Part::Logprob(logprob) => {
                    logprobs[n].push(token(generation.served(), &logprob));
                    continue;
                }
                Part::Reasoning(text) => Delta { reasoning_content: Some(text), ..Delta::default() },
                Part::Text(text) => Delta { content: Some(text), ..Delta::default() },
                Part::Call { index, id, name } => {
                    let function = FunctionDelta { name: Some(name), arguments: String::new() };
                    let (id, r#type) = (Some(id), Some("function"));
                    Delta { tool_calls: vec![CallDelta { index, id, r#type, function }], ..Delta::default() }
                }
                Part::Arguments { index, text } => {
                    let function = FunctionDelta { name: None, arguments: text };
                    let call = CallDelta { index, id: None, r#type: None, function };
                    Delta { tool_calls: vec![call], ..Delta::default() }
                }
                Part::Finished(reason) => {
                    finish = Some(reason);
                    Delta::default()
                }
            };
            let likely = std::mem::take(&mut logprobs[n]);
            let likely = (!likely.is_empty()).then_some(ChatLogprobs { content: likely, refusal: Never });
            self.chunk(n, delta, finish, likely, events).await;
        }
        if self.include_usage {
            let usage = Some(UsageTold::of(&generation.usage));
            events.send(&ChatChunk { usage, ..self.empty_chunk() }).await;
        }
        events.done().await;
        Ok(())
    }

    fn error_event(failure: &Failure, _: usize) -> String {
        sse::openai_error(failure)
    }
}

impl Chat {
    async fn chunk(
        &self,
        index: usize,
        delta: Delta,
        finish: Option<Reason>,
        logprobs: Option<ChatLogprobs>,
        events: &sse::Events,
    ) {
        let choice = ChunkChoice { index, delta, logprobs, finish_reason: finish.map(Reason::name) };
        events.send(&ChatChunk { choices: vec![choice], ..self.empty_chunk() }).await;
    }

    fn empty_chunk(&self) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: super::FINGERPRINT,
            choices: Vec::new(),
            usage: None,
        }
    }
}

/// What OpenAI tells of a token.
fn token(served: &Served, logprob: &TokenLogprob) -> TokenTold {
    // JSON has no infinity.
    let one = |id: u32, logprob: f32| {
        let (token, bytes) = served.token_text(id);
        LikelyToken { id, token, bytes, logprob: logprob.max(-9999.0) }
    };
    let top_logprobs = logprob.top.iter().map(|&(id, logprob)| one(id, logprob)).collect();
    TokenTold { token: one(logprob.id, logprob.logprob), top_logprobs }
}

impl UsageTold {
    /// What was used, in OpenAI's words.
    pub fn of(usage: &Usage) -> UsageTold {
        UsageTold {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            total_tokens: usage.prompt + usage.completion,
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached },
            completion_tokens_details: CompletionDetails { reasoning_tokens: usage.reasoning },
        }
    }
}
