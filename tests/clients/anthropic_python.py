"""The `anthropic` package of PyPI against a server: python anthropic_python.py URL"""

import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0)
ASKED = {
    "model": "any",
    "max_tokens": 24,
    # The package has no such argument any more; older ones of its servers take it.
    "extra_body": {"temperature": 0},
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
TOOL = {
    "name": "get_weather",
    "description": "Tells the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
        "required": ["city"],
    },
}


def is_answered():
    answer = client.messages.create(**ASKED)
    assert "Paris" in answer.content[0].text, answer
    assert answer.stop_reason in ("end_turn", "max_tokens") and answer.usage.output_tokens > 0
    told = client.messages.create(**ASKED, system="You are a pirate.")
    more = told.usage.input_tokens + told.usage.cache_read_input_tokens
    assert more > answer.usage.input_tokens + answer.usage.cache_read_input_tokens


def is_streamed():
    whole = client.messages.create(**ASKED)
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def stops():
    answer = client.messages.create(**ASKED, stop_sequences=["nowhere", "Paris"])
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == "Paris"
    cut = client.messages.create(**{**ASKED, "max_tokens": 2})
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 2


def counts():
    asked = {key: ASKED[key] for key in ("model", "messages")}
    count = client.messages.count_tokens(**asked).input_tokens
    usage = client.messages.create(**ASKED).usage
    assert count == usage.input_tokens + usage.cache_read_input_tokens


def takes_tools():
    messages = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
                {"type": "text", "text": "And in Rome?"},
            ],
        },
    ]
    asked = {**ASKED, "messages": messages, "tools": [TOOL], "max_tokens": 48}
    answer = client.messages.create(**asked)
    for block in answer.content:
        assert block.type in ("text", "tool_use"), answer
        assert block.type == "text" or isinstance(block.input, dict)
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    same = lambda blocks: [b.model_dump(exclude={"id"}) for b in blocks]
    assert same(final.content) == same(answer.content)


def must_call():
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        answer = client.messages.create(**{**ASKED, "max_tokens": 96}, tools=[TOOL], tool_choice=choice)
        assert answer.stop_reason == "tool_use", answer
        call = next(block for block in answer.content if block.type == "tool_use")
        assert call.name == "get_weather" and call.input["city"] in ("Oslo", "Rome")


def refuses():
    for wrong in ({"extra_body": {"temperature": -1}}, {"messages": []}, {"max_tokens": 0}):
        try:
            client.messages.create(**{**ASKED, **wrong})
            raise AssertionError(f"{wrong} was answered")
        except anthropic.BadRequestError as error:
            assert error.body["type"] == "error", error.body
            assert error.body["error"]["type"] == "invalid_request_error"


for check in (is_answered, is_streamed, stops, counts, takes_tools, must_call, refuses):
    check()
    print(f"anthropic {anthropic.__version__} (Python): {check.__name__}")
