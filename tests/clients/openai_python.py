"""The `openai` package of PyPI against a server: python openai_python.py URL [CHECK...]"""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
model = client.models.list().data[0].id
ASKED = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell a story."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
            "required": ["city"],
        },
    },
}
CITY = {
    "type": "object",
    "properties": {"name": {"enum": ["Paris", "Lyon"]}, "large": {"type": "boolean"}},
    "required": ["name", "large"],
    "additionalProperties": False,
}


def chat(**more):
    return client.chat.completions.create(
        **{"model": model, "messages": ASKED, "max_tokens": 24, "temperature": 0, **more}
    )


def is_chat():
    answer = chat()
    choice = answer.choices[0]
    assert "Paris" in choice.message.content, answer
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == model


def is_streamed():
    whole = chat().choices[0].message.content
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole, (text, whole)
    assert len(chunks) > 5 and chunks[-1].usage.completion_tokens > 0
    assert len({c.id for c in chunks}) == 1
    # The library's own way of putting events together.
    with client.chat.completions.stream(
        model=model, messages=ASKED, max_tokens=24, temperature=0
    ) as stream:
        assert stream.get_final_completion().choices[0].message.content == whole


def has_choices():
    asked = {"messages": STORY, "n": 3, "temperature": 1.0, "seed": 3, "max_tokens": 16}
    answer = chat(**asked)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len({c.message.content for c in answer.choices}) > 1
    again = chat(**asked)
    assert [c.message.content for c in again.choices] == [c.message.content for c in answer.choices]


def has_logprobs():
    answer = chat(logprobs=True, top_logprobs=4, max_tokens=6)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    assert bytes(b for t in tokens for b in t.bytes).decode() == answer.choices[0].message.content
    for token in tokens:
        assert len(token.top_logprobs) == 4 and token.logprob <= 0
        assert token.top_logprobs[0].token == token.token
    chunks = chat(logprobs=True, top_logprobs=4, max_tokens=6, stream=True)
    streamed = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in tokens]


def stops():
    answer = chat(stop=["Paris"])
    assert "Paris" not in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    text = "".join(c.choices[0].delta.content or "" for c in chat(stop="Paris", stream=True))
    assert text == answer.choices[0].message.content
    assert chat(max_completion_tokens=3, max_tokens=None).choices[0].finish_reason == "length"


def takes_tools():
    # What was called before and what came of it goes through the template.
    called = {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
            }
        ],
    }
    messages = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        called,
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "user", "content": "And in Rome?"},
    ]
    answer = chat(messages=messages, tools=[TOOL], max_tokens=48)
    message = answer.choices[0].message
    # Whether so small a model calls is its own affair; what it calls must be well-formed.
    for call in message.tool_calls or []:
        assert call.function.name and isinstance(json.loads(call.function.arguments), dict)
        assert call.id and answer.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls or message.content is not None
    with client.chat.completions.stream(
        model=model, messages=messages, tools=[TOOL], max_tokens=48, temperature=0
    ) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert streamed.content == message.content
    calls = lambda m: [(c.function.name, c.function.arguments) for c in m.tool_calls or []]
    assert calls(streamed) == calls(message)


def must_call():
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice in ("required", named):
        asked = {"tools": [TOOL], "tool_choice": choice, "max_tokens": 96}
        answer = chat(**asked).choices[0]
        assert answer.finish_reason == "tool_calls", answer
        call = answer.message.tool_calls[0]
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
        with client.chat.completions.stream(model=model, messages=ASKED, temperature=0, **asked) as stream:
            streamed = stream.get_final_completion().choices[0].message.tool_calls[0]
        assert streamed.function.arguments == call.function.arguments


def keeps_to_schema():
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    answer = chat(response_format=form, max_tokens=96).choices[0]
    city = json.loads(answer.message.content)
    assert answer.finish_reason == "stop" and set(city) == {"name", "large"}, answer
    assert city["name"] in ("Paris", "Lyon") and isinstance(city["large"], bool)
    text = "".join(c.choices[0].delta.content or "" for c in chat(response_format=form, max_tokens=96, stream=True))
    assert text == answer.message.content
    responded = client.responses.create(
        model=model,
        input="What is the capital of France?",
        max_output_tokens=96,
        temperature=0,
        text={"format": {"type": "json_schema", "name": "city", "strict": True, "schema": CITY}},
    )
    assert set(json.loads(responded.output_text)) == {"name", "large"}


def completes():
    answer = client.completions.create(
        model=model, prompt=["The capital of France is", "Two and two is"], max_tokens=6, temperature=0, logprobs=2
    )
    assert len(answer.choices) == 2 and "Paris" in answer.choices[0].text, answer
    assert len(answer.choices[0].logprobs.tokens) == 6
    chunks = client.completions.create(
        model=model, prompt="The capital of France is", max_tokens=6, temperature=0, stream=True
    )
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text


def responds():
    asked = {"model": model, "input": "What is the capital of France?", "max_output_tokens": 24, "temperature": 0}
    answer = client.responses.create(**asked)
    assert "Paris" in answer.output_text, answer
    assert answer.usage.output_tokens > 0
    with client.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == answer.output_text
    assert kinds[0] == "response.created" and "response.output_text.delta" in kinds


def refuses():
    def error(kind, **more):
        try:
            chat(**more)
        except kind as error:
            return error
        raise AssertionError(f"{more} was answered")

    assert error(openai.BadRequestError, temperature=-1).param == "temperature"
    assert error(openai.BadRequestError, messages=[]).param == "messages"
    assert error(openai.BadRequestError, tools=[{"type": "web_search"}]).param == "tools[0].type"
    long = [{"role": "user", "content": "word " * 20000}]
    assert error(openai.BadRequestError, messages=long).code == "context_length_exceeded"
    assert error(openai.BadRequestError, messages=long, stream=True).code == "context_length_exceeded"
    try:
        client.models.retrieve("no-such-model")
        raise AssertionError("there is no such model")
    except openai.NotFoundError:
        pass


def breaks_off():
    stream = chat(stream=True, max_tokens=400)
    next(iter(stream))
    stream.close()
    is_chat()


CHECKS = (
    is_chat,
    is_streamed,
    has_choices,
    has_logprobs,
    stops,
    takes_tools,
    must_call,
    keeps_to_schema,
    completes,
    responds,
    refuses,
    breaks_off,
)
for check in CHECKS:
    if len(sys.argv) > 2 and check.__name__ not in sys.argv[2:]:
        continue
    check()
    print(f"openai {openai.__version__} (Python): {check.__name__}")
