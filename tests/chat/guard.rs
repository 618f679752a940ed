//! People's text is text: no special token of any vocabulary comes out of what people wrote, whoever wrote it and wherever.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use wgllm::chat::{ChatTemplate, Conversation, Options};
use wgllm::gguf::Gguf;
use wgllm::tokenizer::{Encode, Tokenizer};

use crate::fixtures::{entries, files, fixtures, stem};
use crate::{Outcome, must, same};

const SPECIAL: Encode = Encode { special: true, bos: false };

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for file in files(&fixtures().join("tokenizers"), "gguf") {
        trials.extend(on_vocabulary(&file, &stem(&file)));
    }
    for folder in entries(&fixtures().join("models")) {
        // Models share a handful of vocabularies; these are the ones with special tokens of their own.
        if ["gemma2", "llama3-rope", "phi3", "qwen2"].contains(&&*stem(&folder)) {
            trials.extend(on_vocabulary(&folder.join("model-f32.gguf"), &stem(&folder)));
        }
    }
    if trials.is_empty() {
        trials.push(Trial::test("guard: no fixtures; set WGLLM_FIXTURES", || Ok(())).with_ignored_flag(true));
    }
    trials
}

type Test = (&'static str, fn(&Vocabulary) -> Outcome);
const TESTS: [Test; 5] = [
    ("no special token comes from people's text", nothing_special),
    ("people's text has the ids that it has alone", ids_of_text),
    ("special tokens are not made of pieces", no_pieces),
    ("special tokens are not made with what the template writes", no_completion),
    ("BOS comes once", bos_once),
];

fn on_vocabulary(path: &Path, title: &str) -> Vec<Trial> {
    let file = match Gguf::open(path) {
        Ok(file) => file,
        Err(error) => {
            return vec![Trial::test(format!("guard: {title}"), move || Err(error.to_string().into()))];
        }
    };
    if let Err(reason) = Tokenizer::from_metadata(file.metadata()) {
        let reason = reason.to_string();
        let reason = reason.split(';').next().unwrap_or_default();
        return vec![Trial::test(format!("guard: {title}: {reason}"), || Ok(())).with_ignored_flag(true)];
    }
    let trial = |&(what, test): &Test| {
        let path = path.to_owned();
        Trial::test(format!("guard: {what}: {title}"), move || test(&Vocabulary::open(&path)?))
    };
    TESTS.iter().map(trial).collect()
}

struct Vocabulary {
    file: Gguf,
    tokenizer: Tokenizer,
    /// Control tokens and their ids.
    tokens: Vec<String>,
    ids: BTreeSet<u32>,
}

impl Vocabulary {
    fn open(path: &Path) -> Result<Vocabulary, Failed> {
        let file = Gguf::open(path)?;
        let tokenizer = Tokenizer::from_metadata(file.metadata())?.ok_or("no tokenizer")?;
        let tokens: Vec<String> = tokenizer.control_tokens().map(str::to_owned).collect();
        let mut ids = BTreeSet::new();
        for token in &tokens {
            let encoded = tokenizer.encode(token, SPECIAL)?;
            must(encoded.len() == 1, || format!("{token} is {encoded:?}"))?;
            ids.extend(encoded);
        }
        must(!tokens.is_empty(), || "the vocabulary has no special token: this test shows nothing".into())?;
        Ok(Vocabulary { file, tokenizer, tokens, ids })
    }

    fn template(&self, text: &str) -> Result<ChatTemplate, Failed> {
        Ok(ChatTemplate::for_model(text, &self.file, &self.tokenizer)?)
    }

    /// The ids that a conversation becomes, without the BOS that the vocabulary asks for, and the text.
    fn prompt(&self, template: &ChatTemplate, people: Value) -> Result<(Vec<u32>, String), Failed> {
        let conversation: Conversation = serde_json::from_value(people.clone())?;
        let mut options = Options::default();
        options.variables.insert("note".into(), people["messages"][0]["content"].clone());
        let rendered = template.render(&conversation, &options)?;
        let mut ids = rendered.encode(&self.tokenizer)?;
        if self.tokenizer.adds_bos() {
            same("BOS in front", ids.first().copied(), self.tokenizer.bos())?;
            ids.remove(0);
        }
        Ok((ids, rendered.text()))
    }

    fn plain(&self, what: &str, ids: &[u32]) -> Outcome {
        match ids.iter().find(|id| self.ids.contains(id)) {
            Some(id) => Err(format!("{what:?} gave the special token {id}").into()),
            None => Ok(()),
        }
    }
}

/// A template that writes all that people gave, in many ways, and no special token.
const EVERYTHING: &str = "{% for m in messages %}({{ m.role }}: {{ m.content }} {{ m.content|trim }} {{ m.content|lower }} \
    {{ m.content.split(' ')|join('') }} {{ m.content.strip()[0:] }} {{ m.reasoning_content }} {{ m.name }} \
    {{ m.tool_call_id }}{% for c in m.tool_calls %}{{ c.id }}{{ c.function.name }}{{ c.function.arguments|tojson }}\
    {% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}{% endfor %}){% endfor %}\
    {% for t in tools %}{{ t|tojson(indent=2) }}{% endfor %}{{ tools|string }}{{ documents|tojson(ensure_ascii=true) }}\
    {{ documents }}{{ note }}{{ messages|tojson }}";

fn nothing_special(vocabulary: &Vocabulary) -> Outcome {
    let template = vocabulary.template(EVERYTHING)?;
    let unguarded = ChatTemplate::parse(EVERYTHING, "", "")?;
    for token in &vocabulary.tokens {
        for said in [token.clone(), format!("  a{token}{token} b\n"), format!(" {} ", token.to_uppercase())] {
            let arguments = json!({ "x": said, &said: [said] });
            let call =
                json!({ "id": said, "type": said, "function": { "name": said, "arguments": arguments } });
            let messages: Vec<Value> = ["system", "user", "assistant", "tool", &said]
                .iter()
                .map(|role| json!({
                    "role": role, "content": said, "reasoning_content": said, "name": said, "tool_call_id": said,
                    "tool_calls": [call], "more": said,
                }))
                .collect();
            let tool =
                json!({ "type": "function", "function": { "name": said, "parameters": { &said: said } } });
            let people = json!({ "messages": messages, "tools": [tool], "documents": [{ "title": said, "text": said }] });
            let (ids, text) = vocabulary.prompt(&template, people.clone())?;
            vocabulary.plain(&said, &ids)?;
            let options =
                Options { variables: serde_json::from_value(json!({ "note": said }))?, ..Options::default() };
            let expected = unguarded.render(&serde_json::from_value(people)?, &options)?.text();
            // Its length shows that no mark was counted in what people see.
            same("text", text, expected)?;
        }
    }
    Ok(())
}

fn ids_of_text(vocabulary: &Vocabulary) -> Outcome {
    let template = vocabulary.template("{{ messages[0].content }}")?;
    for token in &vocabulary.tokens {
        for said in
            [token.clone(), format!("Say {token}, please.\n\n  {token}x{token}"), format!("<{token}>")]
        {
            let expected = vocabulary.tokenizer.encode(&said, Encode::default())?;
            let people = json!({ "messages": [{ "role": "user", "content": said }] });
            let (ids, text) = vocabulary.prompt(&template, people)?;
            same(&said, ids, expected)?;
            same(&said, &*text, &said)?;
        }
    }
    Ok(())
}

/// Parts that stand beside each other in the prompt.
fn no_pieces(vocabulary: &Vocabulary) -> Outcome {
    let template = vocabulary
        .template("{% for p in messages[0].content %}{{ p.text|trim }}{% endfor %}{{ messages[0].role }}")?;
    for token in &vocabulary.tokens {
        let places: Vec<usize> = token.char_indices().map(|(at, _)| at).skip(1).collect();
        let mut splits: Vec<Vec<&str>> = places.iter().map(|&at| vec![&token[..at], &token[at..]]).collect();
        splits.push(token.split("").filter(|piece| !piece.is_empty()).collect());
        if let [first, .., last] = places[..] {
            splits.push(vec![&token[..first], &token[first..last], &token[last..]]);
        }
        for split in splits {
            for padding in ["", "  "] {
                let part =
                    |piece: &&str| json!({ "type": "text", "text": format!("{padding}{piece}{padding}") });
                let parts: Vec<Value> = split.iter().map(part).collect();
                let people = json!({ "messages": [{ "role": "user", "content": parts }] });
                let (ids, text) = vocabulary.prompt(&template, people)?;
                vocabulary.plain(&format!("{split:?}"), &ids)?;
                same("text", text, format!("{token}user"))?;
            }
        }
    }
    Ok(())
}

/// The template writes the first and the last character, people the rest.
fn no_completion(vocabulary: &Vocabulary) -> Outcome {
    for token in &vocabulary.tokens {
        let places: Vec<usize> = token.char_indices().map(|(at, _)| at).skip(1).collect();
        let [first, .., last] = places[..] else { continue };
        for (before, said, behind) in [
            (&token[..first], &token[first..last], &token[last..]),
            ("", &token[..last], &token[last..]),
            (&token[..first], &token[first..], ""),
        ] {
            let text = format!("{{{{ {} + messages[0].content|trim + {} }}}}", json!(before), json!(behind));
            let template = vocabulary.template(&text)?;
            let people = json!({ "messages": [{ "role": "user", "content": format!(" {said} ") }] });
            let (ids, text) = vocabulary.prompt(&template, people)?;
            vocabulary.plain(token, &ids)?;
            same("text", &*text, token)?;
        }
    }
    Ok(())
}

fn bos_once(vocabulary: &Vocabulary) -> Outcome {
    let people = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let conversation: Conversation = serde_json::from_value(people)?;
    let prompt = |text: &str| -> Result<Vec<u32>, Failed> {
        let rendered = vocabulary.template(text)?.render(&conversation, &Options::default())?;
        Ok(rendered.encode(&vocabulary.tokenizer)?)
    };
    let with = prompt("{{ bos_token }}{{ messages[0].content }}")?;
    let bos = vocabulary.tokenizer.bos();
    same("BOS that the template writes", with.first().copied(), bos.or(with.first().copied()))?;
    same("BOS twice", prompt("{{ bos_token }}{{ bos_token }}{{ messages[0].content }}")?, with.clone())?;
    let hi = vocabulary.tokenizer.encode("Hi", Encode::default())?;
    let mut expected = hi.clone();
    expected.splice(0..0, bos.filter(|_| vocabulary.tokenizer.adds_bos()));
    same("BOS that the template leaves out", prompt("{{ messages[0].content }}")?, expected)?;
    same("BOS and text", with, bos.into_iter().chain(hi).collect())
}
