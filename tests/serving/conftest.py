"""A server in a thread of this process, and requests to it by the standard library."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.decision import Decision
from mobileone.inference.predictor import Predictor
from mobileone.input_spec import InputSpec
from mobileone.serving.app import ServeLimits, make_app
from mobileone.serving.listen import listen
from mobileone.serving.serve import configure
from mobileone.task import Task


class Levels:
    """A classifier without weights: class i is as likely as the picture's mean is near 64 · i."""

    input_spec, num_classes, class_names = InputSpec(size=8, crop=1.0), 5, tuple("abcde")
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        assert self.gate.wait(30)
        level = pixels.float().mean((1, 2, 3))
        return -(level[:, None] - 64 * torch.arange(5.0)).abs()


class Client:
    """Requests to a server at a port."""

    def __init__(self, port: int, classifier: Levels) -> None:
        self.port, self.classifier = port, classifier

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def predict(self, body: bytes, query: str = "") -> tuple[int, dict]:
        status, text = self.ask("POST", f"/predict{query}", body)
        return status, json.loads(text)


@pytest.fixture
def image() -> Callable[[int], bytes]:
    def png(level: int) -> bytes:
        data = io.BytesIO()
        PIL.Image.fromarray(np.full((10, 12, 3), level, np.uint8)).save(data, "PNG")
        return data.getvalue()

    return png


@pytest.fixture
def server() -> Iterator[Callable[..., Client]]:
    """`server(queue_size=…)`: one with these limits, stopped at the end."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    for name in ("starlette", "prometheus_client"):
        pytest.importorskip(name, reason="needs the extra serve")
    running = []

    def start(task: Task = "singlelabel", decision: Decision | None = None, **limits: float) -> Client:
        classifier, listener = Levels(), listen("127.0.0.1", 0)
        classifier.task, classifier.decision = task, decision
        given = ServeLimits(**limits)
        own = uvicorn.Server(configure(make_app(Predictor(classifier), given), given))
        thread = threading.Thread(target=own.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((own, thread, classifier, listener))
        until(lambda: own.started)
        return Client(listener.getsockname()[1], classifier)

    yield start
    for own, thread, classifier, listener in running:
        classifier.gate.set()
        own.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    return until
