//! Templates as they are found, and what Python's jinja2 3.1.6 makes of them with Hugging Face's settings and functions.

use chrono::NaiveDateTime;
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use wgllm::chat::{ChatTemplate, Conversation, Options};

use crate::{Outcome, must, same};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("python: generation blocks are scopes that write their content", generation),
        Trial::test("python: what a template raises is the error, word for word", raises),
        Trial::test("python: variables reach the template, but do not replace messages", variables),
        Trial::test("python: a message comes in a shape that the template can write", messages),
        Trial::test("python: arguments and parts come in the shape that the template can write", shapes),
    ];
    for &(template, expected) in CASES {
        let title: String = template.chars().take(60).flat_map(char::escape_debug).collect();
        trials.push(Trial::test(format!("python: {title}"), move || {
            same(template, &*render(template)?, expected)
        }));
    }
    trials
}

fn conversation() -> Result<Conversation, Failed> {
    let parameters = json!({
        "type": "object",
        "properties": { "items": { "type": "array" }, "b": { "type": "string" }, "a": { "type": "number", "default": 0.5 } },
        "required": ["b"],
    });
    let tool = json!({ "name": "f", "description": "d <x>", "parameters": parameters });
    Ok(serde_json::from_value(json!({
        "messages": [
            { "role": "system", "content": "  é \"q\" <b> & \u{2028} 🗺 " },
            { "role": "user", "content": "Hi\nyou" },
            { "role": "assistant", "content": "Yo" },
        ],
        "tools": [{ "type": "function", "function": tool }],
    }))?)
}

fn options() -> Result<Options, Failed> {
    let now = NaiveDateTime::parse_from_str("2025-01-15 12:30:45", "%Y-%m-%d %H:%M:%S")?;
    Ok(Options { add_generation_prompt: true, now: Some(now), ..Options::default() })
}

fn render(template: &str) -> Result<String, Failed> {
    Ok(ChatTemplate::parse(template, "<s>", "</s>")?.render(&conversation()?, &options()?)?.text())
}

/// What jinja2 makes of a template.
const CASES: &[(&str, &str)] = &[
    (
        "{{ tools|tojson }}",
        r#"[{"type": "function", "function": {"name": "f", "description": "d <x>", "parameters": {"type": "object", "properties": {"items": {"type": "array"}, "b": {"type": "string"}, "a": {"type": "number", "default": 0.5}}, "required": ["b"]}}}]"#,
    ),
    (
        "{{ tools[0]|tojson(indent=4) }}",
        "{\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"f\",\n        \"description\": \"d <x>\",\n        \"parameters\": {\n            \"type\": \"object\",\n            \"properties\": {\n                \"items\": {\n                    \"type\": \"array\"\n                },\n                \"b\": {\n                    \"type\": \"string\"\n                },\n                \"a\": {\n                    \"type\": \"number\",\n                    \"default\": 0.5\n                }\n            },\n            \"required\": [\n                \"b\"\n            ]\n        }\n    }\n}",
    ),
    (
        "{{ tools|tojson(sort_keys=true, separators=(',', ':')) }}",
        r#"[{"function":{"description":"d <x>","name":"f","parameters":{"properties":{"a":{"default":0.5,"type":"number"},"b":{"type":"string"},"items":{"type":"array"}},"required":["b"],"type":"object"}},"type":"function"}]"#,
    ),
    (
        "{{ messages[0].content|tojson(ensure_ascii=true) }}{{ {'b': 1, 'a': [true, none, 1.5, 1e20]}|tojson }}{{ []|tojson(indent=2) }}{{ {1: 2}|tojson }}",
        r#""  \u00e9 \"q\" <b> & \u2028 \ud83d\uddfa "{"b": 1, "a": [true, null, 1.5, 1e+20]}[]{"1": 2}"#,
    ),
    (
        "{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.n = ns.n + 1 %}{% endif %}{% set ns.s = m.role %}{% endfor %}{{ ns.n }} {{ ns.s }}",
        "1 assistant",
    ),
    (
        "{% macro show(m, end='.') %}{{ m.role|upper }}{{ end }}{% endmacro %}{% for m in messages %}{{ show(m) }}{{ show(m, end='!') }}{% endfor %}",
        "SYSTEM.SYSTEM!USER.USER!ASSISTANT.ASSISTANT!",
    ),
    (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ loop.index0 }}/{{ loop.length }}{{ m.role }}{% break %}{% endfor %}",
        "1/3user",
    ),
    (
        "{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d %H:%M:%S') }}|{{ strftime_now('%-d %B %y, %A %j %I %p %%') }}",
        "15 Jan 2025|2025-01-15 12:30:45|15 January 25, Wednesday 015 12 PM %",
    ),
    ("{% macro today() %}{{ strftime_now('%Y') }}{% endmacro %}{{ today() }}", "2025"),
    (
        "{{ messages[0].content.strip() }}|{{ ' a b '.lstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a,b,c'.split(',')[-1] }}|{{ 'a b  c'.split() }}",
        "é \"q\" <b> & \u{2028} 🗺|a b |a|c|['a', 'b', 'c']",
    ),
    (
        "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x','c')) }} {{ 'abc'.upper() }} {{ 'hello world'.title() }} {{ 'hELLO'.capitalize() }} {{ 'abcabc'.find('c') }} {{ 'aXbX'.replace('X', '-') }}",
        "True True ABC Hello World Hello 2 a-b-",
    ),
    (
        "{{ 'pre-x'.removeprefix('pre-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=')[0] }} {{ 'a.b.c'.rsplit('.', 1) }} {{ 'a.b'.rsplit('.') }}",
        "x x ('a', '=', 'b=c') a=b ['a.b', 'c'] ['a', 'b']",
    ),
    (
        "{{ tools[0].function.parameters.properties.items()|list|length }}{% for k, v in tools[0].function.parameters.properties.items() %} {{ k }}:{{ v.type }}{% endfor %}",
        "3 items:array b:string a:number",
    ),
    (
        "{{ messages[0].get('name', 'nobody') }} {{ messages[0].get('role') }} {{ messages[0].keys()|list }} {{ 'content' in messages[0] }} {{ 'x' not in messages[0] }}",
        "nobody system ['role', 'content'] True True",
    ),
    (
        "{{ messages[::-1][0].role }} {{ messages[1:]|length }} {{ messages[:-1]|length }} {{ 'abcdef'[1:-1] }} {{ messages[-1].role }}",
        "assistant 2 2 bcde assistant",
    ),
    (
        "{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|map(attribute='role')|join(',') }} {{ (messages|last).role }} {{ messages|rejectattr('role', 'eq', 'user')|map(attribute='role')|list }}",
        "1 system,user,assistant assistant ['system', 'assistant']",
    ),
    (
        "{{ true }} {{ none }} {{ 1.0 }} {{ [1, 'a', none, true] }} {{ {'a': 'b'} }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 3 }} {{ 7 / 2 }} {{ 'ab' * 2 }} {{ [1] + [2] }}",
        "True None 1.0 [1, 'a', None, True] {'a': 'b'} 3 1 8 3.5 abab [1, 2]",
    ),
    (
        "{{ undefined_thing }}|{{ messages[0].nothing }}|{{ undefined_thing is defined }}|{{ undefined_thing|default('d') }}|{{ none|default('d') }}|{{ ''|default('d', true) }}",
        "||False|d|None|d",
    ),
    (
        "{{ 'a' is string }} {{ 'a' is sequence }} {{ 'a' is iterable }} {{ [1] is sequence }} {{ {} is mapping }} {{ {} is sequence }} {{ 1 is number }} {{ true is boolean }} {{ none is none }} {{ 1 is integer }} {{ 1.5 is float }} {{ [] is string }} {{ {} is iterable }} {{ none is iterable }}",
        "True True True True True True True True True True True False True False",
    ),
    (
        "{% if tools %}T{% endif %}{% if documents %}D{% else %}-{% endif %}{{ tools is defined }}{{ tools is not none }}{{ documents is none }}",
        "T-TrueTrueTrue",
    ),
    (
        "  {% if true %}\n  a\n  {% endif %}\nb\n  {%- if true -%}  c  {%- endif -%}\n d {# x #}\n{# y #}\ne\n",
        "  a\nbcd e",
    ),
    ("{% set x %}\nline\n{% endset %}[{{ x }}]{{ x|trim }}{{ x|length }}", "[line\n]line5"),
    ("{% filter upper %}abc{% endfilter %}", "ABC"),
    (
        r#"{{ 'a\nb\tc\u00e9\'' }}{{ "q\"" }}{{ 'x' ~ 1 ~ none ~ true ~ 1.5 }}"#,
        "a\nb\u{9}cé'q\"x1NoneTrue1.5",
    ),
    (
        "{% for k, v in {'z': 1, 'a': 2}|dictsort %}{{ k }}{{ v }}{% endfor %}{% for k, v in {'z': 1, 'a': 2}|items %}{{ k }}{{ v }}{% endfor %}",
        "a2z1z1a2",
    ),
    (
        "{{ '%s is %d' % ('a', 3) if false else 'n' }}{{ 'v' if messages else 'w' }}{{ 'v' if not messages }}",
        "nv",
    ),
    (
        "{{ 'abc'|first }}{{ [3,1,2]|sort|join }}{{ [1,2]|sum }}{{ 'a b'|replace(' ', '_') }}{{ 'x'|string }}{{ 3|string|length }}{{ '3'|int + 1 }}{{ [1,1,2]|unique|list }}{{ 'abc'|reverse }}",
        "a1233a_bx14[1, 2]cba",
    ),
    (
        r"{{ 'a\nb'|indent(2) }}{{ 'a\nb'.splitlines() }}{{ ' '.join(['a','b']) }}{{ 'abc'.count('b') }}{{ '12'.isdigit() }}{{ '{} {}'.format('a', 1) }}",
        "a\n  b['a', 'b']a b1Truea 1",
    ),
    (
        "{% with a = 1 %}{{ a }}{% endwith %}{{ range(3)|list }}{{ range(1, 4)|join }}{{ dict(a=1).a }}{{ [[1,2],[3,4]]|map('first')|list }}",
        "1[0, 1, 2]1231[1, 3]",
    ),
    (
        "{% for m in messages if m.role != 'system' %}{{ m.role[0] }}{{ loop.previtem.role if loop.previtem }}{{ loop.last }}{% else %}none{% endfor %}",
        "uFalseauserTrue",
    ),
    (
        "{% for x in [] %}{% else %}empty{% endfor %}{{ loop is defined }}{{ messages[0]['role'] }}{{ messages[0].role in ['user', 'system'] }}{{ 1 if 'a' in 'cat' and not 'z' in 'cat' }}",
        "emptyFalsesystemTrue1",
    ),
    (
        "{{ messages[0].content | trim | length }} {{ (messages[0].content ~ '!')[-1] }} {{ messages|tojson|length }} {{ messages[1]|tojson }}",
        r#"15 ! 135 {"role": "user", "content": "Hi\nyou"}"#,
    ),
    (
        r"{%- set a, b = 1, 2 -%}{{ a + b }}{{ (1, 2) }}{{ -a }}{{ a < b <= 2 }}{{ not a }}{{ a == 1 and b != 1 or false }}{{ 'é'|upper }}{{ '\x41' }}",
        "3(1, 2)-1TrueFalseTrueÉA",
    ),
    (
        "{% set items = {'items': {'a': 1}, 'keys': 2} %}{{ items.items()|list|length }}{{ items.keys()|list }}{{ items['items'].a }}",
        "2['items', 'keys']1",
    ),
    ("{% if true %}\r\n a\r\n{% endif %}\r\nb\rc\r\n", " a\nb\nc"),
    ("{% raw %}\n{{ x }}\n{% endraw %}\n{%- raw -%} z {% endraw %}", "\n{{ x }}\nz "),
    (
        r"{{ '{\n'|indent(4, first=true) }}|{{ 'a\r\n\nb'|indent('> ') }}|{{ ''|indent(2, true) }}|{{ 'a\n\nb'|indent(1, blank=true) }}",
        "    {\n|a\n\n> b|  |a\n \n b",
    ),
    (
        "{{ 1e-7 }} {{ [1e16, 0.1] }} {{ {'a': 2.5e-8}|string }} {{ (1,) }}",
        "1e-07 [1e+16, 0.1] {'a': 2.5e-08} (1,)",
    ),
    (
        r#"{{ ["it's", 'q"', '\'"', 'a\u200b\x85\u3000 e\u0301\\'] }}"#,
        "[\"it's\", 'q\"', '\\'\"', 'a\\u200b\\x85\\u3000 e\u{301}\\\\']",
    ),
    (
        r"{{ ' a b  c '.split(none, 1) }}{{ ' a b c'.rsplit(none, 1) }}{{ 'a,b,c'.split(',', maxsplit=1) }}{{ 'a\x1fb'.split() }}{{ 'a\x0bb\u2028c\r\nd\n'.splitlines() }}",
        "['a', 'b  c '][' a b', 'c']['a', 'b,c']['a', 'b']['a', 'b', 'c', 'd']",
    ),
    (
        "{{ \"it's mIne ﬁx\".title() }} {{ 'aBé'.swapcase() }} {{ 'éabcabc'.find('a', 2) }} {{ 'éabc'.index('c') }} {{ 'abca'.rfind('a', 0, -1) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith(('x', 'b'), 0, 2) }}",
        "It'S Mine Fix AbÉ 4 3 0 True True",
    ),
    (
        r"{{ 'ab'.ljust(4, '.') }} {{ '-7'.zfill(4) }} {{ 'ab'.center(5, '*') }} {{ ' \x1fa '.strip() }} {{ ' a '|trim|length }} {{ 'xax'|trim('x') }} {{ none|trim }} {{ ['a', 'b'].index('b') }}",
        "ab.. -007 **ab* a 1 a None 1",
    ),
    (
        r#"{{ 'x'|int }} {{ ' 12 '|int }} {{ '3.9'|int }} {{ 'x'|int(7) }} {{ 'x'|float }} {{ true|int }} {{ '<a b="it\'s">&'|e }}"#,
        "0 12 3 7 0.0 1 &lt;a b=&#34;it&#39;s&#34;&gt;&amp;",
    ),
];

fn generation() -> Outcome {
    let template = "{% for m in messages %}\n  {%- generation -%}\n  {{ m.role[0] }}{% set x = 1 %}\n  {%- endgeneration +%}\n{% endfor %}{{ x }}";
    same("generation", &*render(template)?, "s\nu\na\n")
}

fn raises() -> Outcome {
    let cases = [
        (
            "{{ raise_exception('No, \"never\"!') }}",
            "the chat template refuses this conversation: No, \"never\"!",
        ),
        (
            "{% macro m() %}{{ raise_exception('in a macro') }}{% endmacro %}\n{{ m() }}",
            "the chat template refuses this conversation: in a macro",
        ),
        (
            "{{ raise_exception(messages[1].content) }}",
            "the chat template refuses this conversation: Hi\\nyou",
        ),
        ("\n{{ messages[0].a.b }}", "the chat template fails: line 2: undefined value"),
        ("\n\n{% if %}", "the chat template cannot be read: line 3: syntax error: "),
        ("{% include 'x' %}", "the chat template cannot be read: line 1: syntax error: "),
        (
            "{{ strftime_now('%Q') }}",
            "the chat template fails: line 1: invalid operation: strftime_now: \"%Q\" holds what is not known",
        ),
        (
            "{{ nothing|tojson }}",
            "the chat template fails: line 1: invalid operation: tojson: undefined is nothing that JSON can hold",
        ),
        ("{{ messages.append(1) }}", "the chat template fails: line 1: unknown method: "),
    ];
    for (template, expected) in cases {
        let got = match render(template) {
            Ok(text) => return Err(format!("{template} gives {text:?}").into()),
            Err(error) => error.message().unwrap_or_default().to_owned(),
        };
        must(got.starts_with(expected), || format!("{template}:\n     got {got}\nexpected {expected}"))?;
    }
    Ok(())
}

fn variables() -> Outcome {
    let template = ChatTemplate::parse("{{ enable_thinking }}{{ n.a }}{{ documents }}", "", "")?;
    let mut options = options()?;
    options.variables.insert("enable_thinking".into(), false.into());
    options.variables.insert("n".into(), json!({ "a": [1] }));
    same("variables", &*template.render(&conversation()?, &options)?.text(), "False[1]None")?;
    options.variables.insert("messages".into(), json!([]));
    must(template.render(&conversation()?, &options).is_err(), || "messages were replaced".into())
}

/// What templates in the wild can write of a message, and what they are given: `null` and nothing are not the same to them.
fn messages() -> Outcome {
    let call = |arguments: serde_json::Value| json!([{ "type": "function", "function": { "name": "f", "arguments": arguments } }]);
    let calls = call(json!({}));
    let of_calls = "{% for c in m.tool_calls %}{% set a = c.function.arguments %}BODY{% endfor %}";
    let either = of_calls.replace("BODY", "{{ a if a is string else a|tojson }}");
    let joined = of_calls.replace("BODY", "{{ '' + a }}");
    let named = "{% if m.content is none %}{{ m.tool_calls[0].function.name }}{% endif %}";
    let parts = "{% for p in m.content %}{{ p.text if p.type == 'text' }}{% endfor %}";
    let user_parts = "{{ m.content[0].text if m.role == 'user' and m.content is not string else m.content }}";
    // As gpt-oss has it.
    let thought = "{# <|channel|>commentary #}{% if m.content and m.thinking and m.tool_calls %}{{ raise_exception('both') }}{% endif %}{{ m.content }}{{ m.thinking }}";
    let refused = "{{ raise_exception('nothing') if m.content is none }}{{ m.content }}";
    let text = json!([{ "type": "text", "text": "t" }]);
    let cases = [
        (
            &*either,
            json!({ "role": "assistant", "content": "", "tool_calls": call(json!("{\"z\":1}")) }),
            r#"{"z":1}"#,
        ),
        (
            &either,
            json!({ "role": "assistant", "content": "", "tool_calls": call(json!({ "z": 1, "a": [2] })) }),
            r#"{"z": 1, "a": [2]}"#,
        ),
        (
            &joined,
            json!({ "role": "assistant", "content": "", "tool_calls": call(json!({ "z": 1, "a": [2] })) }),
            r#"{"z": 1, "a": [2]}"#,
        ),
        (
            "{{ '<' + m.content + '>' }}",
            json!({ "role": "assistant", "content": null, "tool_calls": calls }),
            "<>",
        ),
        ("{{ '<' + m.content + '>' }}", json!({ "role": "assistant", "tool_calls": calls }), "<>"),
        ("<{{ m.content }}>", json!({ "role": "assistant", "content": null }), "<>"),
        (named, json!({ "role": "assistant", "tool_calls": calls }), "f"),
        (named, json!({ "role": "assistant", "content": null, "tool_calls": calls }), "f"),
        (refused, json!({ "role": "assistant", "content": null }), "refused: nothing"),
        (parts, json!({ "role": "user", "content": "hi" }), "hi"),
        (user_parts, json!({ "role": "user", "content": text }), "t"),
        (user_parts, json!({ "role": "tool", "content": text }), "t"),
        (thought, json!({ "role": "assistant", "content": "c", "reasoning_content": "r" }), "cr"),
        (
            thought,
            json!({ "role": "assistant", "content": "c", "reasoning_content": "r", "tool_calls": calls }),
            "c",
        ),
    ];
    for (body, message, expected) in cases {
        let template =
            ChatTemplate::parse(&format!("{{% for m in messages %}}{body}{{% endfor %}}"), "", "")?;
        let conversation: Conversation = serde_json::from_value(json!({ "messages": [message] }))?;
        let got = match template.render(&conversation, &options()?) {
            Ok(rendered) => rendered.text(),
            Err(error) => error.to_string().replace("the chat template refuses this conversation", "refused"),
        };
        same(&format!("{body} of {message}"), &*got, expected)?;
    }
    Ok(())
}

fn shapes() -> Outcome {
    let conversation: Conversation = serde_json::from_value(json!({ "messages": [
        { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"z\": 1, \"a\": [2.0]}" } },
        ] },
    ] }))?;
    let calls = "{% for c in m.tool_calls %}{{ ARGUMENTS }}{% endfor %}";
    let contents = "{{ m.content if m.content is string }}";
    let parts = "{% for p in m.content %}{{ '<' + p.text + '>' }}{% endfor %}";
    let cases = [
        (contents, "c.function.arguments|tojson", r#"ab{"z": 1, "a": [2.0]}"#),
        (contents, "'' + c.function.arguments", r#"ab{"z": 1, "a": [2.0]}"#),
        (parts, "c.function.arguments|dictsort", r#"<a><b>[('a', [2.0]), ('z', 1)]"#),
    ];
    for (content, arguments, expected) in cases {
        let calls = calls.replace("ARGUMENTS", arguments);
        let text = format!("{{% for m in messages %}}{content}{calls}{{% endfor %}}");
        let template = ChatTemplate::parse(&text, "", "")?;
        // The first two print contents that are a text, the third parts: each gets what it can print.
        let text = template.render(&conversation, &options()?).map(|rendered| rendered.text());
        same(&format!("{content} {arguments}"), text.map_err(|e| e.to_string()), Ok(expected.to_owned()))?;
    }
    Ok(())
}
