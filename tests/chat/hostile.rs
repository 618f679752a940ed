//! Templates that mean harm and messages of any content: no hang, no memory beyond a bound, no panic.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use wgllm::chat::{ChatTemplate, Conversation, Options, builtin};

use crate::fixtures::{files, fixtures};
use crate::{Outcome, heap, must, same};

/// What a template may make its reader hold: 64 bytes for each of a million instructions, twice where a text is copied once
/// more, and as much again for what an allocator counts twice while a text grows.
const MEMORY: u64 = 256 << 20;
const TIME: Duration = Duration::from_secs(20);

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("hostile: any text in any message comes out as it came in", any_text),
        Trial::test("hostile: any template ends", any_template),
        Trial::test("hostile: long conversations are rendered", long),
    ];
    trials.push(Trial::test(
        "hostile: templates that the engine's reader would go down with are refused",
        deep,
    ));
    for &bomb in BOMBS {
        trials.push(Trial::test(format!("hostile: {bomb}"), move || goes_off(bomb)));
    }
    for &bomb in NESTED {
        let title = format!("hostile: the engine has no bound for values nested by a template: {bomb}");
        trials.push(Trial::test(title, move || goes_off(bomb)).with_ignored_flag(true));
    }
    trials
}

/// Lists in lists as deep or as often shared as a template likes: minijinja 3.1 compares, drops and prints them without fuel.
const NESTED: &[&str] = &[
    "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ns.x == ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ (ns.x ~ '')|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|upper|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ {ns.x: 1}|length }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = ns.x + [1] + ns.x %}{% endfor %}{{ ns.x|length }}",
];

/// Each would take for ever, fill the memory, or overflow the stack.
const BOMBS: &[&str] = &[
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}abcdefgh{% endfor %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('', 'abcd') %}{% endfor %}",
    "{{ 'a' * 100000000000 }}",
    "{{ '{:>99999999999}'.format(1) }}",
    "{{ '{:.9999999999f}'.format(1.0) }}",
    "{{ [1] * 1000000000 }}",
    "{{ range(1000000000000)|list }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|string|length }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{{ tojson|tojson }}{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{{ {'a': 1}|tojson(indent=1000000000) }}{{ ('%1000000000d'|format(1)) }}",
    "{{ ('a' * 100000)|indent(100000000) }}",
    "{{ strftime_now('%Y' * 1000000) }}",
];

fn goes_off(bomb: &str) -> Outcome {
    let start = Instant::now();
    let (result, most) = heap::peak(|| {
        let template = ChatTemplate::parse(bomb, "", "")?;
        template.render(&Conversation::default(), &Options::default()).map(|rendered| rendered.text())
    });
    let took = start.elapsed();
    must(took < TIME, || format!("took {took:?}"))?;
    must(most < MEMORY, || format!("{most} bytes were held"))?;
    if let Ok(text) = result {
        must(text.len() < 1 << 20, || format!("wrote {} bytes", text.len()))?;
    }
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// Text with what could confuse a template: tags, special tokens, marks, line ends, empty texts.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,12}",
        any::<String>(),
        prop::sample::select(vec![
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "{{ messages }}",
            "<|im_end|>",
            "<|im_",
            "end|>",
            "<s>",
            "</s>",
            "[INST]",
            " ",
            "\n",
            "\r\n",
            "\u{FDD0}",
            "\u{FDEF}",
            "\u{FFFF}",
            "\u{10FFFF}",
            "\0",
            "'",
            "\"",
            "\\",
            "</think>",
            "<",
            ">",
            "",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Templates that write contents untouched write them untouched.
fn any_text() -> Outcome {
    let echo = ChatTemplate::parse("{% for m in messages %}{{ m.content }}\u{1}{% endfor %}", "", "")?;
    let mut templates: Vec<ChatTemplate> = builtin::NAMED
        .iter()
        .map(|named| ChatTemplate::parse(named.text, "<s>", "</s>"))
        .collect::<Result<_, _>>()?;
    for file in files(&fixtures().join("chat"), "jinja") {
        templates.push(ChatTemplate::parse(&std::fs::read_to_string(file)?, "<s>", "</s>")?);
    }
    let strategy = prop::collection::vec(text(), 1..5);
    let options = Options { add_generation_prompt: true, ..Options::default() };
    runner(300)
        .run(&strategy, |texts| {
            let messages: Vec<Value> = texts
                .iter()
                .enumerate()
                .map(|(i, text)| json!({ "role": (["user", "assistant"][i % 2]), "content": text }))
                .collect();
            let conversation: Conversation =
                serde_json::from_value(json!({ "messages": messages })).expect("valid");
            let expected: String = texts.iter().map(|text| format!("{text}\u{1}")).collect();
            prop_assert_eq!(echo.render(&conversation, &options).expect("it renders").text(), expected);
            for template in &templates {
                let rendered = template.render(&conversation, &options);
                let text = rendered.map_err(|e| TestCaseError::fail(e.to_string()))?.text();
                // The last message is what the model answers: every template writes it, trimmed or not.
                let last = texts.last().map_or("", |text| text.trim());
                let last = last.rsplit("</think>").next().unwrap_or_default().trim();
                prop_assert!(text.contains(last), "{:?} lacks {:?}", text, last);
            }
            Ok(())
        })
        .map_err(|e| e.to_string())?;
    Ok(())
}

/// Pieces of templates in any order.
fn any_template() -> Outcome {
    let piece = prop::sample::select(vec![
        "{% for m in messages %}",
        "{% endfor %}",
        "{% if m %}",
        "{% else %}",
        "{% endif %}",
        "{{ m.content }}",
        "{{ messages|tojson }}",
        "{% set x = x ~ 'abc' %}",
        "{% set x %}",
        "{% endset %}",
        "{{ x }}",
        "{{ x * 9999 }}",
        "{% macro f(a) %}",
        "{% endmacro %}",
        "{{ f(1) }}",
        "{{ f(x) }}",
        "{% for i in range(999) %}",
        "{% break %}",
        "{% continue %}",
        "{{ 1 / 0 }}",
        "{{ x[::-1] }}",
        "{{ x.split('') }}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "-",
        "\n",
        "é",
        "{% generation %}",
        "{% endgeneration %}",
        "{% raw %}",
        "{% endraw %}",
        "{{ -9223372036854775808 // -1 }}",
        "{{ x.replace('', 'x') }}",
        "{{ messages.items() }}",
        "{{ strftime_now(x) }}",
        "{{ '%'|format }}",
        "{{ x|indent(9) }}",
    ]);
    let strategy = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    let conversation: Conversation =
        serde_json::from_value(json!({ "messages": [{ "role": "user", "content": "a b" }] }))?;
    runner(2000)
        .run(&strategy, |template| {
            let start = Instant::now();
            let (_, most) = heap::peak(|| {
                ChatTemplate::parse(&template, "<s>", "</s>")?.render(&conversation, &Options::default())
            });
            prop_assert!(most < MEMORY, "{} bytes were held", most);
            prop_assert!(start.elapsed() < TIME, "took {:?}", start.elapsed());
            Ok(())
        })
        .map_err(|e| e.to_string())?;
    Ok(())
}

/// What people really do, large: a thousand turns, a text of 4 MB, a hundred tools.
fn long() -> Outcome {
    let options = Options::default();
    let tool = json!({ "type": "function", "function": { "name": "f", "description": "d".repeat(200),
        "parameters": { "type": "object", "properties": (0..30).map(|i| (format!("p{i}"), json!({ "type": "string" })))
            .collect::<serde_json::Map<_, _>>() } } });
    for file in files(&fixtures().join("chat"), "jinja") {
        let template = ChatTemplate::parse(&std::fs::read_to_string(&file)?, "<s>", "</s>")?;
        let what = file.display().to_string();
        let turns: Vec<Value> = (0..2001)
            .map(|i| json!({ "role": (["user", "assistant"][i % 2]), "content": format!("{i}: {}", "Some words that were said. ".repeat(20)) }))
            .collect();
        let turns: Conversation =
            serde_json::from_value(json!({ "messages": turns, "tools": vec![tool.clone(); 100] }))?;
        let text = template.render(&turns, &options).map_err(|e| format!("{what}: {e}"))?.text();
        same(&what, text.matches("Some words that were said.").count(), 2001 * 20)?;
        let long = "word ".repeat(800_000);
        let long: Conversation =
            serde_json::from_value(json!({ "messages": [{ "role": "user", "content": long }] }))?;
        let text = template.render(&long, &options).map_err(|e| format!("{what}: {e}"))?.text();
        same(&what, text.matches("word").count(), 800_000)?;
    }
    // Gemma 4's, DeepSeek's and Cohere's templates look for each message through all in front of it.
    let all = "{% for m in messages %}{% set ns = namespace(last=-1) %}{% for o in messages %}{% if o.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last ~ m.content }}{% endfor %}";
    let turns: Vec<Value> = (0..1000).map(|_| json!({ "role": "user", "content": "a" })).collect();
    let turns: Conversation = serde_json::from_value(json!({ "messages": turns }))?;
    let text = ChatTemplate::parse(all, "", "")?.render(&turns, &options)?.text();
    same("all of all", text.matches("999a").count(), 1000)
}

fn deep() -> Outcome {
    let chains = ["+1", "~'a'", ".b", "|upper", "[1]", "(1)", " and 1", " is odd", " if 1 else 1"];
    let chains = chains.map(|link| format!("{{{{ {{'}}}}': 1}} }}}}\n{{{{ a{} }}}}", link.repeat(60_000)));
    let branches = format!("{{% if a %}}{}{{% endif %}}", "{% elif b %}".repeat(40_000));
    for template in chains.iter().chain([&branches]) {
        let Err(error) = ChatTemplate::parse(template, "", "") else {
            return Err(format!("{:.40} was read", template).into());
        };
        must(error.to_string().contains("the most"), || error.to_string())?;
    }
    // Long texts are not deep.
    let long = format!(
        "{{# {} #}}{{{{ '{}' ~ \"{}\" }}}}",
        "+1".repeat(9_000),
        "}}\\'+1".repeat(9_000),
        "{".repeat(9_000)
    );
    let branches = "{% elif b %}".repeat(400);
    for template in
        [long, format!("{{% if a %}}{branches}{{% endif %}}"), format!("{{{{ 1{} }}}}", "+1".repeat(1_000))]
    {
        ChatTemplate::parse(&template, "", "")?;
    }
    Ok(())
}
