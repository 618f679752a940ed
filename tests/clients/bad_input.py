"""What is no request, or too much of one, against a server with the key `secret`: python bad_input.py URL"""

import json
import socket
import sys
import time
import urllib.error
import urllib.request

url = sys.argv[1]
host, port = url.removeprefix("http://").rsplit(":", 1)
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


def send(path, body, key="secret", **headers):
    request = urllib.request.Request(
        url + path, body, {"content-type": "application/json", "authorization": f"Bearer {key}", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def refused(what, expected, path, body, **more):
    status, text = send(path, body, **more)
    assert status == expected, (what, path, status, text[:300])
    assert json.loads(text)["error"]["message"], (what, text[:300])


def raw(head, body=b""):
    """What comes back for bytes, where the sender says no more."""
    with socket.create_connection((host, int(port)), timeout=60) as stream:
        stream.sendall(head.replace("\n", "\r\n").encode() + body)
        stream.shutdown(socket.SHUT_WR)
        return stream.makefile("rb").read()


def answers():
    status, text = send("/v1/completions", json.dumps({"prompt": "Once", "max_tokens": 2}).encode())
    assert status == 200, text
    return json.loads(text)["choices"][0]["text"]


for path in PATHS:
    refused("an empty body", 400, path, b"")
    refused("half an object", 400, path, b'{"messages": [{"role": "user"')
    refused("no object", 400, path, b"[1, 2]")
    refused("invalid UTF-8", 400, path, b'{"prompt": "\xff\xfe"}')
    refused("deep nesting", 400, path, b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    refused("too many bytes", 413, path, b"a" * (17 << 20))
    refused("a wrong key", 401, path, b"{}", key="wrong")
    for field in ("temperature", "stream", "messages", "prompt", "input", "tools", "max_tokens"):
        for value in ("yes", -5, [[]], {"a": {}}):
            body = {"messages": [{"role": "user", "content": "a"}], "prompt": "a", "input": "a", "max_tokens": 1}
            status, text = send(path, json.dumps({**body, "max_output_tokens": 1, field: value}).encode())
            # Some are fine, and some are unknown at some paths.
            assert status < 500, (path, field, value, text[:300])
print("bodies that are no requests are told so")

head = "POST /v1/completions HTTP/1.1\nhost: a\nauthorization: Bearer secret\ncontent-length: 100\n\n"
assert not raw(head, b'{"prompt"').startswith(b"HTTP/1.1 2")
assert raw("GET / HTTP/9.9\n\n").startswith(b"HTTP/1.1 4") or raw("no request at all\n\n") is not None
print("what ends in the middle is no request")

# As many as there is room for, all of them silent, and many that come and go.
many = []
for _ in range(300):
    many.append(socket.create_connection((host, int(port)), timeout=60))
start = time.monotonic()
text = answers()
assert time.monotonic() - start < 30
for stream in many:
    stream.close()
for _ in range(1000):
    socket.create_connection((host, int(port)), timeout=60).close()
assert answers(), "no text"
print("300 silent connections and 1,000 short ones change nothing")
