"""Answers held to the types of PyPI's `openai` and `anthropic`, whole and event by event: python strict_types.py URL

The clients take what lacks members or has wrong ones; here nothing may."""

import json
import sys
import urllib.request

from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

url = sys.argv[1]
USER = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Tells the weather", "parameters": CITY}
NAMELESS = {"name": "get_time"}
count = 0


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read().decode()


def strict(kind, text):
    global count
    count += 1
    kind = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    return kind.validate_json(text, strict=True)


def streamed(path, body, kind):
    events = []
    for block in ask(path, {**body, "stream": True}).strip().split("\n\n"):
        # Comments keep the connection open.
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines.get("data", "[DONE]") != "[DONE]":
            events.append(strict(kind, lines["data"]))
            assert "event" not in lines or lines["event"] == events[-1].type, block
    return events


def chats():
    tools = [{"type": "function", "function": function} for function in (FUNCTION, NAMELESS)]
    asked = {"messages": USER, "max_tokens": 16, "temperature": 0}
    for more in (
        {},
        {"n": 2, "temperature": 1, "seed": 1},
        {"logprobs": True, "top_logprobs": 3},
        {"stop": ["Paris"]},
        {"max_tokens": 2},
        {"tools": tools, "tool_choice": "required", "max_tokens": 96},
        {"tools": tools, "tool_choice": "required", "max_tokens": 2},
        {"tools": tools, "tool_choice": "required", "max_tokens": 96, "logprobs": True, "n": 2},
        {"tools": tools, "tool_choice": "auto"},
    ):
        body = {**asked, **more}
        whole = strict(ChatCompletion, ask("/v1/chat/completions", body))
        chunks = streamed(
            "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}, ChatCompletionChunk
        )
        usage = chunks.pop().usage
        assert usage.completion_tokens == whole.usage.completion_tokens, (more, usage, whole.usage)
        for choice in whole.choices:
            mine = [c.choices[0] for c in chunks if c.choices[0].index == choice.index]
            assert "".join(c.delta.content or "" for c in mine) == (choice.message.content or ""), more
            assert [c.finish_reason for c in mine if c.finish_reason] == [choice.finish_reason], more
            calls = [call for c in mine for call in c.delta.tool_calls or []]
            for n, call in enumerate(choice.message.tool_calls or []):
                text = "".join(c.function.arguments or "" for c in calls if c.index == n)
                assert text == call.function.arguments and text is not None, (more, calls)
            assert "<tool_call>" not in (choice.message.content or ""), (more, choice)


def completions():
    for more in ({}, {"n": 2}, {"logprobs": 2}, {"echo": True}, {"prompt": ["One", "Two"]}, {"prompt": [504, 3575]}):
        body = {"prompt": "The capital of France is", "max_tokens": 6, "temperature": 0, **more}
        whole = strict(Completion, ask("/v1/completions", body))
        assert [c.index for c in whole.choices] == list(range(len(whole.choices)))


def responses():
    tools = [{"type": "function", **function} for function in (FUNCTION, NAMELESS)]
    asked = {"input": "What is the capital of France?", "max_output_tokens": 16, "temperature": 0}
    form = {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}
    for more in (
        {},
        {"max_output_tokens": 2},
        {"instructions": "Be short.", "metadata": {"a": "b"}, "reasoning": {"effort": "low"}},
        {"text": {"format": form}, "max_output_tokens": 64},
        {"tools": tools, "tool_choice": "required", "max_output_tokens": 96},
        {"tools": tools, "tool_choice": {"type": "function", "name": "get_weather"}, "max_output_tokens": 20},
        {"chat_template_kwargs": {"think": True}},
    ):
        whole = strict(Response, ask("/v1/responses", {**asked, **more}))
        events = streamed("/v1/responses", {**asked, **more}, ResponseStreamEvent)
        assert [e.sequence_number for e in events] == list(range(len(events)))
        last = events[-1].response
        assert (last.status, last.output_text) == (whole.status, whole.output_text), more
        # Items are opened and closed one behind the other, and what closes one is what the answer has.
        opened = [e.output_index for e in events if e.type == "response.output_item.added"]
        closed = [e.item for e in events if e.type == "response.output_item.done"]
        assert opened == list(range(len(last.output))) and closed == last.output, more
        ends = [item.status for item in last.output]
        cut = ["completed"] * (len(ends) - 1) + ["incomplete" if last.status == "incomplete" else "completed"]
        assert ends == cut[: len(ends)], (more, ends)


def messages():
    tools = [{"name": "get_weather", "input_schema": CITY}, {"name": "get_time", "input_schema": {"type": "object"}}]
    asked = {"messages": USER, "max_tokens": 16, "temperature": 0}
    for more in (
        {},
        {"max_tokens": 2},
        {"stop_sequences": ["Paris"]},
        {"system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]},
        {"tools": tools, "tool_choice": {"type": "any"}, "max_tokens": 96},
        {"tools": tools, "tool_choice": {"type": "tool", "name": "get_weather"}, "max_tokens": 20},
        {"chat_template_kwargs": {"think": True}},
    ):
        whole = strict(Message, ask("/v1/messages", {**asked, **more}))
        events = streamed("/v1/messages", {**asked, **more}, RawMessageStreamEvent)
        assert [e.type for e in events[-2:]] == ["message_delta", "message_stop"]
        assert events[0].type == "message_start" and events[0].message.content == []
        assert events[-2].delta.stop_reason == whole.stop_reason, more
        assert events[-2].usage.output_tokens == whole.usage.output_tokens, more
        kinds = [e.content_block.type for e in events if e.type == "content_block_start"]
        assert kinds == [block.type for block in whole.content], more
    strict(MessageTokensCount, ask("/v1/messages/count_tokens", {"messages": USER}))


def models():
    for model in json.loads(ask("/v1/models"))["data"]:
        strict(Model, json.dumps(model))
        strict(ModelInfo, json.dumps(model))


for check in (chats, completions, responses, messages, models):
    before = count
    check()
    print(f"strict types: {check.__name__}, {count - before} objects")
