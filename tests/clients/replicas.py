"""Two replicas behind HAProxy, one of which is killed under load: python replicas.py WGLLM MODEL HAPROXY_CONFIGURATION"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

wgllm, model, configuration = sys.argv[1:]


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def start(port):
    command = [wgllm, "serve", "-m", model, "-b", "cpu", "-t", "1", "-q", "--port", str(port), "--parallel", "4"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait(what, holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)


ports = [free_port(), free_port()]
front, stats = free_port(), free_port()
listen, one, two = (f"127.0.0.1:{port}" for port in (front, *ports))
places = {"LISTEN": listen, "REPLICA_ONE": one, "REPLICA_TWO": two}
# Only the test asks HAProxy what it thinks of its replicas.
asked = f"listen stats\n    bind 127.0.0.1:{stats}\n    stats enable\n    stats uri /\n"


def states():
    with urllib.request.urlopen(f"http://127.0.0.1:{stats}/;csv", timeout=5) as answer:
        rows = [line.split(",") for line in answer.read().decode().splitlines()]
    place = rows[0].index("status")
    return [row[place] for row in rows if len(row) > place and row[0] == "replicas" and row[1] in ("one", "two")]


class Load:
    """Clients that ask until they are told to end: what each request came to."""

    def __init__(self, clients):
        self.end, self.results, self.lock = threading.Event(), [], threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(n,)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, n):
        turn = 0
        while not self.end.is_set():
            turn += 1
            messages = [{"role": "user", "content": f"Client {n} asks for the {turn}th time: who are you?"}]
            body = {"messages": messages, "max_tokens": 8, "temperature": 0, "stream": turn % 2 == 0}
            request = urllib.request.Request(
                f"http://127.0.0.1:{front}/v1/chat/completions",
                json.dumps(body).encode(),
                {"content-type": "application/json", "x-session-id": f"client-{n}"},
            )
            # A stream has begun with its head; one object is whole or not there.
            began, result = False, "whole"
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    began = body["stream"]
                    text = answer.read().decode()
                    if began and not text.endswith("data: [DONE]\n\n"):
                        result = "cut"
                    elif not began:
                        json.loads(text)["choices"]
            except urllib.error.HTTPError as error:
                result = str(error.code)
            except (OSError, ValueError, http.client.HTTPException) as error:
                result = type(error).__name__
            with self.lock:
                self.results.append((began, result))

    def so_far(self):
        with self.lock:
            return len(self.results)

    def ended(self):
        self.end.set()
        for thread in self.threads:
            thread.join()
        return self.results


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "stats.cfg")
    with open(path, "w", encoding="utf-8") as file:
        file.write(asked)
    replicas = [start(port) for port in ports]
    command = ["haproxy", "-q", "-db", "-f", configuration, "-f", path]
    balancer = subprocess.Popen(command, env={**os.environ, **places})
    try:
        for port in ports:
            wait("a replica", lambda: get(port, "/ready") == 200)
        wait("the balancer", lambda: get(front, "/health") == 200)
        wait("both replicas", lambda: all(state.startswith("UP") for state in states()))
        print("two replicas are up")
        load = Load(8)
        wait("load", lambda: load.so_far() > 16)
        replicas[0].send_signal(signal.SIGKILL)
        replicas[0].wait()
        at = load.so_far()
        wait("that it is seen to be gone", lambda: states()[0].startswith("DOWN"))
        wait("more load", lambda: load.so_far() > at + 24)
        print("one is killed, and taken out")
        replicas[0] = start(ports[0])
        wait("that it is taken in again", lambda: states()[0].startswith("UP"))
        at = load.so_far()
        wait("more load", lambda: load.so_far() > at + 16)
        print("it is started again, and taken in")
        results = load.ended()
    finally:
        for process in [balancer, *replicas]:
            process.kill()
            process.wait()
    lost = [result for began, result in results if not began and result != "whole"]
    cut = [result for began, result in results if began and result != "whole"]
    # Whole objects that a replica computes when it dies had not begun to be answered.
    assert not lost, f"of {len(results)} requests these got no answer: {lost}"
    # At most what the killed one had under way.
    assert len(cut) <= 8, f"{len(cut)} streams were cut"
    print(f"{len(results)} requests: {len(cut)} streams were cut with their replica, none was lost")
