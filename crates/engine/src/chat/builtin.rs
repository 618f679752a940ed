//! Templates that have a name, for files that bring none and for `--chat-template NAME`: the common ways in which models
//! mark who speaks, written out for this program.

/// A template and how it is asked for.
#[derive(Debug)]
pub struct Named {
    /// What `--chat-template` takes; llama.cpp's name where it has one.
    pub name: &'static str,
    /// The models that were trained on it.
    pub models: &'static str,
    /// The template.
    pub text: &'static str,
}

/// What ChatML's template writes that a vocabulary must have.
pub const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// The template of that name.
pub fn find(name: &str) -> Option<&'static Named> {
    NAMED.iter().find(|named| named.name == name)
}

/// All templates, by name.
pub const NAMED: &[Named] = &[
    Named { name: "chatml", models: "Qwen, SmolLM, Yi and many finetunes", text: CHATML },
    Named { name: "gemma", models: "Gemma 1 to 3", text: GEMMA },
    Named { name: "granite", models: "Granite 3", text: GRANITE },
    Named { name: "llama2", models: "Llama 2, Mistral 7B v0.1", text: LLAMA2 },
    Named { name: "llama3", models: "Llama 3 and 3.x", text: LLAMA3 },
    Named { name: "mistral", models: "Mistral with a Tekken vocabulary, such as Nemo", text: MISTRAL },
    Named { name: "phi3", models: "Phi 3 and 3.5", text: PHI3 },
    Named { name: "vicuna", models: "Vicuna", text: VICUNA },
    Named { name: "zephyr", models: "Zephyr, TinyLlama", text: ZEPHYR },
];

const CHATML: &str = "\
{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\\n' }}{{ message.content }}<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant{{ '\\n' }}
{%- endif -%}";

/// Gemma knows no system message: it goes in front of the first user's.
const GEMMA: &str = "\
{{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- set ns.system = ns.system + message.content|trim + '\\n\\n' -%}
    {%- else -%}
        <start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}{{ '\\n' }}
        {%- if message.role == 'user' -%}
            {{- ns.system -}}
            {%- set ns.system = '' -%}
        {%- endif -%}
        {{- message.content|trim -}}<end_of_turn>{{ '\\n' }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<start_of_turn>model{{ '\\n' }}
{%- endif -%}";

const GRANITE: &str = "\
{%- for message in messages -%}
<|start_of_role|>{{ message.role }}<|end_of_role|>{{ message.content }}<|end_of_text|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start_of_role|>assistant<|end_of_role|>
{%- endif -%}";

const LLAMA2: &str = "\
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' -%}
    {%- elif message.role == 'assistant' -%}
        {{- ' ' + message.content|trim + ' ' + eos_token -}}
    {%- else -%}
        {{- bos_token + '[INST] ' + ns.system + message.content|trim + ' [/INST]' -}}
        {%- set ns.system = '' -%}
    {%- endif -%}
{%- endfor -%}";

const LLAMA3: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
    <|start_header_id|>{{ message.role }}<|end_header_id|>{{ '\\n\\n' }}
    {{- message.content|trim -}}<|eot_id|>
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start_header_id|>assistant<|end_header_id|>{{ '\\n\\n' }}
{%- endif -%}";

/// The system message goes in front of the last user's, where these models look for it.
const MISTRAL: &str = "\
{{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- set ns.system = ns.system + message.content + '\\n\\n' -%}
    {%- elif message.role == 'assistant' -%}
        {{- message.content + eos_token -}}
    {%- else -%}
        [INST]{{ ns.system if loop.last }}{{ message.content }}[/INST]
    {%- endif -%}
{%- endfor -%}";

const PHI3: &str = "\
{%- for message in messages -%}
<|{{ message.role }}|>{{ '\\n' }}{{ message.content }}<|end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>{{ '\\n' }}
{%- endif -%}";

const VICUNA: &str = "\
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {{- message.content + '\\n\\n' -}}
    {%- elif message.role == 'assistant' -%}
        {{- 'ASSISTANT: ' + message.content + eos_token + '\\n' -}}
    {%- else -%}
        {{- 'USER: ' + message.content + '\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
ASSISTANT:
{%- endif -%}";

const ZEPHYR: &str = "\
{%- for message in messages -%}
<|{{ message.role }}|>{{ '\\n' }}{{ message.content }}{{ eos_token }}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>{{ '\\n' }}
{%- endif -%}";
