//! `POST /v1/responses`: OpenAI's later form, without what a server would have to remember.

mod request;
mod response;

use serde_json::{Value, json};

use super::answer::{Asking, Form};
use super::blocks::{Block, Blocks, Change};
use super::constrained::flat_format;
use super::failure::Failure;
use super::fields::Fields;
use super::generation::{Generation, Reason, Usage, Wanted};
use super::params::{Params, fresh_id};
use super::schema::Never;
use super::{now, sse};
pub use request::ResponsesRequest;
use request::{Echo, described, read};
pub use response::ResponseTold;
use response::{
    Incomplete, InputDetails, OutputDetails, ReasoningTold, ResponseUsage, Status, TextFormat, item, item_id,
    text_part,
};

/// What asks for something that is not there, and what to do.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("previous_response_id", "is not supported: give the whole conversation in 'input'"),
    ("conversation", "is not supported: give the whole conversation in 'input'"),
    ("prompt", "is not supported: give the whole conversation in 'input'"),
    ("background", "is not supported: nothing is kept for later"),
    ("top_logprobs", "is not supported here: ask /v1/chat/completions"),
];

/// What is the same in all of an answer.
pub struct Answer {
    id: String,
    created: u64,
    model: String,
    echo: Echo,
}

impl Form for Answer {
    async fn read(asking: &Asking, mut fields: Fields) -> Result<(Answer, Wanted), Failure> {
        let mut params = Params::read(&mut fields, &asking.app.settings)?;
        let own: ResponsesRequest = fields.take()?;
        params.set_limit([("max_output_tokens", own.max_output_tokens)])?;
        if params.choices > 1 {
            return Err(Failure::unsupported("n", "is not supported here"));
        }
        for (name, what) in UNSUPPORTED {
            fields.refuse(name, what)?;
        }
        // Everything else that can be included is of what is never there.
        if own.include.iter().flatten().any(|what| what == "message.output_text.logprobs") {
            return Err(Failure::unsupported(
                "include",
                "of log probabilities is not supported here: ask /v1/chat/completions",
            ));
        }
        let format = own.text.and_then(|mut text| text.shift_remove("format")).filter(|f| !f.is_null());
        let structure = format.clone().map_or(Ok(None), |format| flat_format("text.format", format))?;
        let echo = Echo {
            instructions: own.instructions,
            tools: own.tools.unwrap_or_default().into_iter().map(described).collect(),
            choice: own.tool_choice,
            parallel: own.parallel_tool_calls.unwrap_or(true),
            metadata: own.metadata.unwrap_or_default(),
            limit: params.limit,
            temperature: params.sampling.temperature,
            top_p: params.sampling.top_p,
            presence_penalty: params.sampling.presence_penalty,
            frequency_penalty: params.sampling.frequency_penalty,
            format,
            effort: own.reasoning.and_then(|reasoning| reasoning.effort),
        };
        let variables = own.chat_template_kwargs.unwrap_or_default();
        let mut asked = read(own.input, variables, &echo, &asking.served)?;
        asked.structure.format = structure;
        let model = asking.served.name.clone();
        let form = Answer { id: fresh_id("resp_", 24), created: now(), model, echo };
        Ok((form, asking.conversation(asked, params).await?))
    }

    async fn whole(&self, mut generation: Generation<'_>) -> Result<Value, Failure> {
        let blocks = Blocks::whole(&mut generation).await?;
        let ids: Vec<String> = blocks.all.iter().map(item_id).collect();
        Ok(json!(self.response(&blocks, &ids, Some(&generation.usage))))
    }

    async fn streamed(&self, mut generation: Generation<'_>, events: &sse::Events) -> Result<(), Failure> {
        let (mut blocks, mut ids) = (Blocks::default(), Vec::<String>::new());
        let send = async |name: &str, mut event: Value| {
            event["type"] = name.into();
            event["sequence_number"] = events.sent().into();
            events.send_named(name, &event).await;
        };
        let response = self.response(&blocks, &ids, None);
        send("response.created", json!({ "response": response })).await;
        send("response.in_progress", json!({ "response": response })).await;
        while let Some((_, part)) = generation.next().await? {
            for change in blocks.push(part) {
                let (Change::Begin(n) | Change::More(n, _) | Change::End(n)) = change;
                if ids.len() <= n {
                    ids.push(item_id(&blocks.all[n]));
                }
                let at = |mut event: Value| {
                    event["item_id"] = ids[n].as_str().into();
                    event["output_index"] = n.into();
                    event
                };
                let part_at = |mut event: Value| {
                    event["content_index"] = 0.into();
                    at(event)
                };
                match (change, &blocks.all[n]) {
                    (Change::Begin(_), block) => {
                        let item = item(block, &ids[n], Status::Open);
                        send("response.output_item.added", json!({ "output_index": n, "item": item })).await;
                        if let Block::Text(_) = block {
                            send("response.content_part.added", part_at(json!({ "part": text_part("") })))
                                .await;
                        }
                    }
                    (Change::More(_, more), Block::Text(_)) => {
                        send("response.output_text.delta", part_at(json!({ "delta": more, "logprobs": [] })))
                            .await;
                    }
                    (Change::More(_, more), Block::Reasoning(_)) => {
                        send("response.reasoning_text.delta", part_at(json!({ "delta": more }))).await;
                    }
                    (Change::More(_, more), Block::Call { .. }) => {
                        send("response.function_call_arguments.delta", at(json!({ "delta": more }))).await;
                    }
                    (Change::End(_), block) => {
                        match block {
                            Block::Text(text) => {
                                send(
                                    "response.output_text.done",
                                    part_at(json!({ "text": text, "logprobs": [] })),
                                )
                                .await;
                                send(
                                    "response.content_part.done",
                                    part_at(json!({ "part": text_part(text) })),
                                )
                                .await;
                            }
                            Block::Reasoning(text) => {
                                send("response.reasoning_text.done", part_at(json!({ "text": text }))).await;
                            }
                            Block::Call { arguments, name, .. } => {
                                let event = json!({ "arguments": arguments, "name": name });
                                send("response.function_call_arguments.done", at(event)).await;
                            }
                        }
                        let item = item(block, &ids[n], Status::of(&blocks, n));
                        send("response.output_item.done", json!({ "output_index": n, "item": item })).await;
                    }
                }
            }
        }
        let name = match blocks.reason {
            Some(Reason::Length) => "response.incomplete",
            _ => "response.completed",
        };
        let response = self.response(&blocks, &ids, Some(&generation.usage));
        send(name, json!({ "response": response })).await;
        Ok(())
    }

    fn error_event(failure: &Failure, sent: usize) -> String {
        let mut event = failure.json()["error"].take();
        event["type"] = "error".into();
        event["sequence_number"] = sent.into();
        format!("event: error\ndata: {event}\n\n")
    }
}

impl Answer {
    /// The response; under way where nothing was used yet.
    fn response(&self, blocks: &Blocks, ids: &[String], used: Option<&Usage>) -> ResponseTold {
        let cut = blocks.reason == Some(Reason::Length);
        let status = match used {
            None => "in_progress",
            Some(_) if cut => "incomplete",
            Some(_) => "completed",
        };
        let usage = used.map(|used| ResponseUsage {
            input_tokens: used.prompt,
            input_tokens_details: InputDetails { cached_tokens: used.cached, cache_write_tokens: 0 },
            output_tokens: used.completion,
            output_tokens_details: OutputDetails { reasoning_tokens: used.reasoning },
            total_tokens: used.prompt + used.completion,
        });
        let (echo, output) = (&self.echo, blocks.all.iter().zip(ids).enumerate());
        ResponseTold {
            id: self.id.clone(),
            object: "response",
            created_at: self.created,
            status,
            error: Never,
            completed_at: (status == "completed").then(now),
            incomplete_details: (used.is_some() && cut).then_some(Incomplete { reason: "max_output_tokens" }),
            instructions: echo.instructions.clone(),
            max_output_tokens: echo.limit,
            model: self.model.clone(),
            output: output.map(|(n, (block, id))| item(block, id, Status::of(blocks, n))).collect(),
            parallel_tool_calls: echo.parallel,
            previous_response_id: Never,
            reasoning: ReasoningTold { effort: echo.effort, summary: Never },
            store: false,
            temperature: echo.temperature,
            text: TextFormat { format: echo.format.clone().unwrap_or_else(|| json!({ "type": "text" })) },
            tool_choice: echo.choice.clone().unwrap_or_else(|| json!("auto")),
            tools: echo.tools.clone(),
            top_p: echo.top_p,
            presence_penalty: echo.presence_penalty,
            frequency_penalty: echo.frequency_penalty,
            top_logprobs: 0,
            max_tool_calls: Never,
            background: false,
            service_tier: "default",
            safety_identifier: Never,
            prompt_cache_key: Never,
            truncation: "disabled",
            usage,
            metadata: echo.metadata.clone(),
        }
    }
}
