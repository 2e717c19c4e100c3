"""Claim (docs/deploy.md, a server): latency and throughput of `mobileone serve` under load, nothing lost.

A number of clients, each on a connection of its own, ask one after another for some seconds: the server, and
a plain one (the standard library's threading HTTP server around Pillow, NumPy and ONNX Runtime). Then four
times as many clients as may wait: every answer is 200 or 429, and every 200 is the sent photo's own answer.
Clients run in this process, so on few cores they take from the servers, from both alike.

Run: python -m benchmarks.serve_load --photos ../shared/data/imagenet_val_300 --artifact s0.onnx
"""

from __future__ import annotations

import argparse
import http.client
import json
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mobileone.inference.predictor import Predictor
from mobileone.processor import num_cores, processor_name

QUEUE = 16

PLAIN = """
import io, json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body go together

    def do_POST(self):
        data = self.rfile.read(int(self.headers["content-length"]))
        image = Image.open(io.BytesIO(data)).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))[None]
        if "uint8" not in entry.type:
            values = (pixels.astype(np.float32) / 255 - mean) / std
            pixels = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        logits = session.run(None, {entry.name: pixels})[0][0]
        body = json.dumps({"scores": [{"index": int(logits.argmax())}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"at http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
"""


@dataclass
class Answers:
    """What clients got."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0


@contextmanager
def started(command: Sequence[str | Path]) -> Iterator[int]:
    """A server's port, while it runs."""
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"at http://127\.0\.0\.1:(\d+)", process.stderr.readline())
            if found is None:
                sys.exit(f"the server did not start: {process.stderr.read()[-500:]}")
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(30)


def ask(
    port: int, photos: Sequence[bytes], expected: Sequence[int], *, clients: int, seconds: float
) -> Answers:
    """The answers to so many clients that ask one photo after another."""
    answers, lock, end = Answers(), threading.Lock(), time.monotonic() + seconds

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        number = first
        while time.monotonic() < end:
            which, begin = number % len(photos), time.monotonic()
            connection.request("POST", "/predict?topk=1", photos[which])
            response = connection.getresponse()
            content = json.loads(response.read())
            took = time.monotonic() - begin
            with lock:
                answers.statuses[response.status] += 1
                if response.status == 200:
                    answers.seconds.append(took)
                    answers.wrong += content["scores"][0]["index"] != expected[which]
            number += clients
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def report(title: str, answers: Answers, seconds: float) -> None:
    cuts = statistics.quantiles(answers.seconds, n=100)
    statuses = ", ".join(f"{number} × {status}" for status, number in sorted(answers.statuses.items()))
    print(
        f"  {title:24} {len(answers.seconds) / seconds:7.1f} answers/s, "
        f"p50 {1e3 * cuts[49]:6.1f} ms, p95 {1e3 * cuts[94]:6.1f}, p99 {1e3 * cuts[98]:6.1f}; "
        f"{statuses}; {answers.wrong} other than alone"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--seconds", default=10.0, type=float)
    parser.add_argument("--rounds", default=3, type=int)
    arguments = parser.parse_args()
    found = (path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    files = sorted(found)[:100]
    if not files:
        sys.exit(f"no JPEG below {arguments.photos}")
    photos = [path.read_bytes() for path in files]
    alone = Predictor.load(arguments.artifact)([*photos], topk=1)
    expected = [prediction.scores[0].index for prediction in alone]
    machine = f"{processor_name()}, {num_cores()} cores, Python {platform.python_version()}"
    print(f"# {machine}, {arguments.artifact.name}")
    ours = [sys.executable, "-m", "mobileone", "serve", arguments.artifact, "--port", "0"]
    plain = [sys.executable, "-c", PLAIN, arguments.artifact]
    for clients in (1, 8):
        print(f"{clients} clients, {arguments.seconds:g} s a round")
        for _ in range(arguments.rounds):
            for title, command in (("mobileone serve", ours), ("plain server", plain)):
                with started(command) as port:
                    ask(port, photos, expected, clients=clients, seconds=1)  # the first ones warm it up
                    got = ask(port, photos, expected, clients=clients, seconds=arguments.seconds)
                report(title, got, arguments.seconds)
    print(f"{4 * QUEUE} clients where {QUEUE} images may wait")
    with started([*ours, "--queue-size", str(QUEUE)]) as port:
        got = ask(port, photos, expected, clients=4 * QUEUE, seconds=arguments.seconds)
    report("mobileone serve", got, arguments.seconds)
    if set(got.statuses) - {200, 429} or got.wrong:
        sys.exit("an answer was lost or another's")


if __name__ == "__main__":
    main()
