//! `POST /v1/completions`: the continuation of texts or of tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::answer::{Asking, Form};
use super::chat::UsageTold;
use super::constrained::{Structure, output_format};
use super::failure::Failure;
use super::fields::Fields;
use super::generation::{Generation, Part, Prompt, Reason, TokenLogprob, Wanted};
use super::params::{Limit, Params, fresh_id};
use super::served::Served;
use super::source::{Input, Source};
use super::{now, sse};

/// The fields that only completions have.
#[derive(Deserialize, ToSchema)]
pub struct CompletionRequest {
    prompt: Input,
    max_tokens: Option<Limit>,
    /// The same under llama.cpp's name.
    n_predict: Option<Limit>,
    /// How many likely tokens are told beside each.
    #[schema(minimum = 0, maximum = 20)]
    logprobs: Option<u32>,
    /// Begins answers with their prompts.
    echo: Option<bool>,
    /// As many as `n`.
    #[schema(minimum = 1)]
    best_of: Option<usize>,
}

/// A whole answer, or a piece of one.
#[derive(Serialize, ToSchema)]
#[schema(as = Completion)]
pub struct CompletionTold {
    id: String,
    /// `text_completion`.
    object: &'static str,
    /// Unix seconds.
    created: u64,
    model: String,
    system_fingerprint: &'static str,
    choices: Vec<TextChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageTold>,
}

#[derive(Serialize, ToSchema)]
struct TextChoice {
    index: usize,
    text: String,
    logprobs: Option<TextLogprobs>,
    /// `stop` or `length`; null while it goes on.
    finish_reason: Option<&'static str>,
}

/// How likely tokens were.
#[derive(Default, Serialize, ToSchema)]
struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    /// For each token the likely ones in its place.
    #[schema(value_type = Vec<BTreeMap<String, f32>>)]
    top_logprobs: Vec<Map<String, Value>>,
    /// Where each begins, in characters.
    text_offset: Vec<usize>,
}

/// Log probabilities that are put together.
#[derive(Default)]
struct Logprobs {
    told: TextLogprobs,
    /// Characters so far.
    length: usize,
}

impl Logprobs {
    fn push(&mut self, served: &Served, logprob: &TokenLogprob) {
        let (text, _) = served.token_text(logprob.id);
        self.told.text_offset.push(self.length);
        self.length += text.chars().count();
        self.told.tokens.push(text);
        self.told.token_logprobs.push(logprob.logprob.max(-9999.0));
        let top = logprob.top.iter().map(|&(id, l)| (served.token_text(id).0, json!(l.max(-9999.0))));
        self.told.top_logprobs.push(top.collect());
    }

    /// What came since it was taken last; none where nothing did.
    fn take(&mut self) -> Option<TextLogprobs> {
        let told = std::mem::take(&mut self.told);
        (!told.tokens.is_empty()).then_some(told)
    }
}

/// What is the same in all of an answer.
pub struct Completion {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    /// What each choice begins with.
    echoes: Vec<String>,
}

impl Form for Completion {
    async fn read(asking: &Asking, mut fields: Fields) -> Result<(Completion, Wanted), Failure> {
        let (app, served) = (&asking.app, &asking.served);
        let mut params = Params::read(&mut fields, &app.settings)?;
        let own: CompletionRequest = fields.take()?;
        params.set_limit([("max_tokens", own.max_tokens), ("n_predict", own.n_predict)])?;
        params.sampling.logprobs = own.logprobs;
        let structure = Structure { format: output_format(&mut fields)?, ..Structure::default() };
        fields.refuse("suffix", "is not supported")?;
        if own.best_of.is_some_and(|best| best != params.choices) {
            return Err(Failure::unsupported("best_of", "is not supported, unless it is as many as 'n'"));
        }
        let echo = own.echo.unwrap_or(false);
        if echo && params.sampling.logprobs.is_some() {
            return Err(Failure::unsupported("echo", "together with 'logprobs' is not supported"));
        }
        let sources = own.prompt.sources("prompt", served.tokenizer.vocab_size())?;
        let of = served.clone();
        let encode = move || {
            let constraint = structure.constraint(&of, None)?;
            let encode = |(name, source): (String, Source)| {
                let (tokens, text) = source.encode(&name, &of)?;
                Ok((Prompt { tokens, rendered: None, constraint: constraint.clone() }, text))
            };
            sources.into_iter().map(encode).collect::<Result<Vec<_>, Failure>>()
        };
        let (prompts, texts): (Vec<_>, Vec<_>) = app.compute(encode).await?.into_iter().unzip();
        if app.settings.log_prompts {
            asking.entry.prompt(texts.join("\n"));
        }
        let (each, include_usage) = (params.choices, params.include_usage);
        let echo = |n: usize| if echo { texts[n / each].clone() } else { String::new() };
        let echoes: Vec<String> = (0..prompts.len() * each).map(echo).collect();
        let (id, created, model) = (fresh_id("cmpl-", 24), now(), served.name.clone());
        let form = Completion { id, created, model, include_usage, echoes };
        Ok((form, Wanted { prompts, params, calls: None, one_call: false, must_call: false }))
    }

    async fn whole(&self, mut generation: Generation<'_>) -> Result<Value, Failure> {
        let mut texts = self.echoes.clone();
        let mut finish = vec![None; texts.len()];
        let mut logprobs: Vec<Logprobs> = texts.iter().map(|_| Logprobs::default()).collect();
        while let Some((n, part)) = generation.next().await? {
            match part {
                Part::Text(text) | Part::Reasoning(text) => texts[n] += &text,
                Part::Logprob(logprob) => logprobs[n].push(generation.served(), &logprob),
                Part::Finished(reason) => finish[n] = Some(reason.name()),
                Part::Call { .. } | Part::Arguments { .. } => {}
            }
        }
        let choice = |(index, text)| TextChoice {
            index,
            text,
            logprobs: logprobs[index].take(),
            finish_reason: finish[index],
        };
        let choices = texts.into_iter().enumerate().map(choice).collect();
        let usage = Some(UsageTold::of(&generation.usage));
        Ok(json!(CompletionTold { choices, usage, ..self.empty() }))
    }

    async fn streamed(&self, mut generation: Generation<'_>, events: &sse::Events) -> Result<(), Failure> {
        for (n, echo) in self.echoes.iter().enumerate().filter(|(_, echo)| !echo.is_empty()) {
            self.chunk(n, echo, None, None, events).await;
        }
        let mut logprobs: Vec<Logprobs> = self.echoes.iter().map(|_| Logprobs::default()).collect();
        while let Some((n, part)) = generation.next().await? {
            match part {
                Part::Text(text) | Part::Reasoning(text) => {
                    let likely = logprobs[n].take();
                    self.chunk(n, &text, None, likely, events).await;
                }
                Part::Logprob(logprob) => logprobs[n].push(generation.served(), &logprob),
                Part::Finished(reason) => {
                    let likely = logprobs[n].take();
                    self.chunk(n, "", Some(reason), likely, events).await;
                }
                Part::Call { .. } | Part::Arguments { .. } => {}
            }
        }
        if self.include_usage {
            let usage = Some(UsageTold::of(&generation.usage));
            events.send(&CompletionTold { usage, ..self.empty() }).await;
        }
        events.done().await;
        Ok(())
    }

    fn error_event(failure: &Failure, _: usize) -> String {
        sse::openai_error(failure)
    }
}

impl Completion {
    async fn chunk(
        &self,
        index: usize,
        text: &str,
        finish: Option<Reason>,
        logprobs: Option<TextLogprobs>,
        events: &sse::Events,
    ) {
        let (text, finish_reason) = (text.to_owned(), finish.map(Reason::name));
        let choices = vec![TextChoice { index, text, logprobs, finish_reason }];
        events.send(&CompletionTold { choices, ..self.empty() }).await;
    }

    fn empty(&self) -> CompletionTold {
        CompletionTold {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: super::FINGERPRINT,
            choices: Vec::new(),
            usage: None,
        }
    }
}
