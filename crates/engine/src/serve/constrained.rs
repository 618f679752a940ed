//! What form an answer must have: the fields that say it, and the constraint that comes of them.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::failure::Failure;
use super::fields::{Fields, wrong};
use super::served::Served;
use crate::chat::{Callable, Otherwise, answer_grammar, call_grammar, thought_ahead};
use crate::constraint::Constraint;
use crate::grammar::{Grammar, Language};

/// What an answer must be, and the field that says it.
#[derive(Clone, Debug)]
pub struct OutputFormat {
    field: String,
    language: Language,
}

/// Tools, each with the field that its schema is in.
#[derive(Clone, Debug)]
pub struct Tools(pub Vec<(String, Callable)>);

/// Other servers' fields, and ours in their place.
const ELSEWHERE: &[(&str, &str)] = &[
    ("guided_json", "json_schema"),
    ("guided_regex", "regex"),
    ("guided_grammar", "grammar"),
    ("guided_choice", "regex"),
    ("structured_outputs", "response_format"),
];

/// What form an answer of completions and chats must have; one of these.
#[derive(Deserialize, ToSchema)]
pub struct FormatRequest {
    /// `type` is `text`, `json_object`, or `json_schema` with an object of that name, whose `schema` it is.
    #[schema(value_type = Option<Object>)]
    response_format: Option<Value>,
    /// A JSON schema.
    json_schema: Option<Value>,
    regex: Option<String>,
    /// A Lark grammar.
    grammar: Option<String>,
}

/// Reads what completions and chats ask for: `response_format`, or one of `json_schema`, `regex` and `grammar`.
pub fn output_format(fields: &mut Fields) -> Result<Option<OutputFormat>, Failure> {
    for (name, ours) in ELSEWHERE {
        fields.refuse(name, &format!("is not supported: give '{ours}' instead"))?;
    }
    let given: FormatRequest = fields.take()?;
    let mut all = Vec::new();
    if let Some(format) = given.response_format {
        all.extend(response_format(format)?);
    }
    let mut add = |name: &str, language| all.push(OutputFormat { field: name.into(), language });
    if let Some(schema) = given.json_schema {
        add("json_schema", Language::JsonSchema(schema));
    }
    if let Some(text) = given.regex {
        add("regex", Language::Regex(text));
    }
    if let Some(text) = given.grammar.filter(|text| !text.is_empty()) {
        add("grammar", Language::Lark(text));
    }
    match all.len() {
        0 | 1 => Ok(all.pop()),
        _ => {
            Err(Failure::field(all[1].field.as_str(), format!("cannot be together with '{}'", all[0].field)))
        }
    }
}

fn response_format(format: Value) -> Result<Option<OutputFormat>, Failure> {
    let name = "response_format";
    let mut format = Fields::of(name, format)?;
    match format.text("type")?.as_deref() {
        Some("json_schema") => {
            let name = "response_format.json_schema";
            let Some(inner) = format.any("json_schema") else {
                return Err(Failure::field(name, "is required: an object with the schema"));
            };
            json_schema(name, Fields::of(name, inner)?).map(Some)
        }
        kind => plain_format(name, kind, &mut format),
    }
}

/// Reads a format whose members stand beside its type, as in `/v1/responses` and `/v1/messages`.
pub fn flat_format(name: &str, format: Value) -> Result<Option<OutputFormat>, Failure> {
    let mut format = Fields::of(name, format)?;
    match format.text("type")?.as_deref() {
        Some("json_schema") => json_schema(name, format).map(Some),
        kind => plain_format(name, kind, &mut format),
    }
}

fn plain_format(
    name: &str,
    kind: Option<&str>,
    format: &mut Fields,
) -> Result<Option<OutputFormat>, Failure> {
    match kind {
        Some("text") => Ok(None),
        Some("json_object") => {
            let field = format!("{name}.schema");
            let language = format.any("schema").map_or_else(Language::json_object, Language::JsonSchema);
            Ok(Some(OutputFormat { field, language }))
        }
        Some(kind) => {
            let what = format!("is {kind:?}, expected text, json_object or json_schema");
            Err(Failure::field(format!("{name}.type"), what))
        }
        None => Err(Failure::field(format!("{name}.type"), "is required: text, json_object or json_schema")),
    }
}

/// A schema with its name. It is kept to whether `strict` asks for it or not.
fn json_schema(name: &str, mut fields: Fields) -> Result<OutputFormat, Failure> {
    fields.flag("strict")?;
    fields.text("name")?;
    fields.text("description")?;
    let field = format!("{name}.schema");
    match fields.any("schema") {
        Some(schema) => Ok(OutputFormat { field, language: Language::JsonSchema(schema) }),
        None => Err(Failure::field(field, "is required: a JSON schema")),
    }
}

impl Tools {
    /// All of these tools, or the one with this name.
    pub fn of(tools: &[Value], name: Option<&str>) -> Result<Tools, Failure> {
        let mut all = Vec::new();
        for (i, tool) in tools.iter().enumerate() {
            let function = &tool["function"];
            let of = function["name"].as_str().unwrap_or_default();
            if name.is_none_or(|name| name == of) {
                let field = format!("tools[{i}].function.parameters");
                let parameters = parameters(&field, &function["parameters"])?;
                all.push((field, Callable { name: of.into(), parameters }));
            }
        }
        match (all.is_empty(), name) {
            (false, _) => Ok(Tools(all)),
            (true, Some(name)) => {
                Err(Failure::field("tool_choice", format!("names {name:?}, which is none of 'tools'")))
            }
            (true, None) => Err(Failure::field("tool_choice", "asks for a call, and there are no 'tools'")),
        }
    }

    /// The schemas of their arguments, each with its field.
    fn schemas(&self) -> impl Iterator<Item = (&str, Language)> {
        self.0.iter().map(|(field, tool)| (field.as_str(), Language::JsonSchema(tool.parameters.clone())))
    }
}

/// The schema of a call's arguments, which are an object in any case.
fn parameters(field: &str, schema: &Value) -> Result<Value, Failure> {
    let mut members = match schema {
        Value::Null => Map::from_iter([("additionalProperties".into(), false.into())]),
        Value::Object(members) => members.clone(),
        other => return Err(wrong(field, "a JSON schema", other)),
    };
    match members.get("type") {
        None => members.insert("type".into(), "object".into()),
        Some(Value::String(kind)) if kind == "object" => None,
        Some(other) => {
            return Err(Failure::field(
                format!("{field}.type"),
                format!("is {other}, and arguments are an object"),
            ));
        }
    };
    Ok(Value::Object(members))
}

/// Whether calls of this tool keep to its schema without being forced.
fn is_strict(tool: &Value) -> bool {
    tool["function"]["strict"] == true
}

/// The tool, with any object as its arguments where it is not strict.
fn loosened(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if !is_strict(&tool) {
        tool["function"]["parameters"] = json!({ "type": "object" });
    }
    tool
}

/// What is asked of the structure of an answer.
#[derive(Clone, Debug, Default)]
pub struct Structure {
    /// The form of a text.
    pub format: Option<OutputFormat>,
    /// Tools of which one must be called.
    pub required: Option<Tools>,
    /// Tools that may be called, as they came.
    pub offered: Vec<Value>,
    /// One call at most.
    pub one_call: bool,
}

impl Structure {
    /// The constraint on what follows `prompt`, where a template wrote one; none where anything may be said.
    pub fn constraint(&self, served: &Served, prompt: Option<&str>) -> Result<Option<Constraint>, Failure> {
        let tools = match (&self.required, &self.format) {
            // Whoever may call and is not held to anything else is held to what strict tools say, once it calls.
            (None, None) if served.calls.is_some() && self.offered.iter().any(is_strict) => {
                Some(Tools::of(&self.offered.iter().map(loosened).collect::<Vec<_>>(), None)?)
            }
            (None, None) => return Ok(None),
            (Some(_), Some(format)) => {
                let name = format.field.split('.').next().unwrap_or_default();
                return Err(Failure::field(
                    name,
                    "cannot be together with a 'tool_choice' that asks for a call",
                ));
            }
            (Some(required), None) => Some(required.clone()),
            // Whoever may call does so instead of answering.
            (None, Some(_)) if served.calls.is_some() && !self.offered.is_empty() => {
                Some(Tools::of(&self.offered, None)?)
            }
            (None, Some(_)) => None,
        };
        let grammars = served.grammars()?;
        let grammar = self.grammar(served, tools.clone(), prompt)?;
        if grammar.is_framed() {
            let format = self.format.iter().map(|format| (format.field.as_str(), format.language.clone()));
            for (field, language) in format.chain(tools.iter().flat_map(Tools::schemas)) {
                grammars.check(&language).map_err(|error| Failure::field(field, error))?;
            }
        }
        let template = served.template.as_ref().ok().zip(prompt);
        let thought =
            template.map_or(Ok(None), |(t, prompt)| thought_ahead(prompt, t.text(), &served.tokenizer))?;
        let constraint = grammars.constraint(&grammar, thought);
        let field = self.format.as_ref().map_or("tools", |format| &format.field);
        constraint.map(Some).map_err(|error| Failure::field(field, error))
    }

    fn grammar(
        &self,
        served: &Served,
        tools: Option<Tools>,
        prompt: Option<&str>,
    ) -> Result<Grammar, Failure> {
        let language = self.format.as_ref().map(|format| format.language.clone());
        match (served.calls, tools, language) {
            (Some(format), Some(Tools(tools)), language) => {
                let otherwise = match (language, &self.required) {
                    (Some(language), _) => Otherwise::Answer(language),
                    (None, Some(_)) => Otherwise::Nothing,
                    (None, None) => Otherwise::Text,
                };
                let template = served.template.as_ref().map_or("", |template| template.text());
                let tools: Vec<Callable> = tools.into_iter().map(|(_, callable)| callable).collect();
                Ok(call_grammar(format, &tools, !self.one_call, otherwise, &served.tokenizer, template))
            }
            (_, _, Some(language)) => Ok(answer_grammar(language, prompt, &served.tokenizer)),
            (_, _, None) => Err(Failure::internal("a call was asked for in no form")),
        }
    }
}
