"""The server's routes: POST /predict, GET /health, GET /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileone.decision import Doubt
from mobileone.distribution import pip_install
from mobileone.errors import BadImageError, ConfigError, MissingExtraError
from mobileone.images.decode import EncodedImage
from mobileone.inference.predictor import Predictor
from mobileone.serving.batcher import Batcher, QueueFullError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LATENCIES_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """What a server takes upon itself.

    Attributes:
        max_bytes: of an upload; more is refused with 413.
        upload_s: seconds in which an upload must be complete; later is 408. `serve` gives a request's headers
            as long, and then closes the connection.
        answer_s: seconds in which an uploaded image must be answered; later is 503.
        queue_size: images that wait to be decoded or classified; one more is refused with 429.
        batch_size: most images classified together.
        workers: threads that decode.

    Raises:
        ConfigError: on values out of range.
    """

    max_bytes: int = 16 * 2**20
    upload_s: float = 10.0
    answer_s: float = 10.0
    queue_size: int = 64
    batch_size: int = 8
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("max_bytes", "upload_s", "answer_s", "queue_size", "batch_size", "workers"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")


def need(package: str) -> Any:
    """A module of the extra `serve`.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise MissingExtraError(f"serving needs {name} ({error}); {pip_install('serve')}") from error


class RefusedError(Exception):
    """An answer that is no prediction: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PredictionService:
    """From an upload to an answer; the routes are thin around it."""

    def __init__(self, predictor: Predictor, limits: ServeLimits) -> None:
        self.predictor, self.limits = predictor, limits
        self._decoders = ThreadPoolExecutor(limits.workers, thread_name_prefix="decode")
        prometheus = need("prometheus_client")
        self.registry = prometheus.CollectorRegistry()
        common = {"registry": self.registry}
        self.requests = prometheus.Counter("mobileone_requests", "Answers by status", ["status"], **common)
        self.latency = prometheus.Histogram(
            "mobileone_request_seconds", "From upload to answer", buckets=LATENCIES_S, **common
        )
        batches = prometheus.Histogram("mobileone_batch_images", "Images a run", buckets=BATCHES, **common)
        self.batcher: Batcher[NDArray[np.uint8], tuple[NDArray[np.float32], Doubt | None]] = Batcher(
            predictor.answers_of,
            batch_size=limits.batch_size,
            queue_size=limits.queue_size,
            on_batch=batches.observe,
        )
        self.pending = 0
        gauge = prometheus.Gauge("mobileone_pending_images", "Uploaded and not answered", **common)
        gauge.set_function(lambda: self.pending)

    async def predict(self, request: Request, topk: int) -> dict[str, Any]:
        """The answer's content.

        Raises:
            RefusedError: with the status to answer.
        """
        try:
            data = await asyncio.wait_for(self._upload(request), self.limits.upload_s)
        except TimeoutError:
            raise RefusedError(408, f"the upload took longer than {self.limits.upload_s:g} s") from None
        # Only complete uploads count: who uploads slowly keeps nobody from being answered.
        if self.pending >= self.limits.queue_size:
            raise RefusedError(429, f"{self.pending} images are waiting; try again")
        self.pending += 1
        try:
            return await asyncio.wait_for(self._answer(data, topk), self.limits.answer_s)
        except TimeoutError:
            raise RefusedError(503, f"no answer within {self.limits.answer_s:g} s; try again") from None
        except QueueFullError:
            raise RefusedError(429, "too many images are waiting; try again") from None
        except BadImageError as error:
            raise RefusedError(400, str(error)) from None
        finally:
            self.pending -= 1

    async def _upload(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise RefusedError(415, "send the image file itself, not a form: curl --data-binary @photo.jpg")
        most = self.limits.max_bytes
        declared = request.headers.get("content-length", "0")
        data, too_large = bytearray(), RefusedError(413, f"larger than {most} bytes")
        if declared.isdecimal() and int(declared) > most:
            raise too_large
        async for part in request.stream():
            data += part
            if len(data) > most:
                raise too_large
        return bytes(data)

    async def _answer(self, data: bytes, topk: int) -> dict[str, Any]:
        loop, image = asyncio.get_running_loop(), EncodedImage("upload", data)
        view = await loop.run_in_executor(self._decoders, self.predictor.view, image)
        row, doubt = await asyncio.wrap_future(self.batcher.submit(view))
        answer = self.predictor.prediction("upload", row, doubt, topk=topk)
        said: dict[str, Any] = {"scores": [asdict(score) for score in answer.scores]}
        if answer.labels is not None:
            said["labels"] = list(answer.labels)
        return said if answer.sure is None else said | {"sure": answer.sure, "doubt": answer.doubt}

    def close(self) -> None:
        """Answer what waits, then stop the threads."""
        self._decoders.shutdown()
        self.batcher.close()


def make_app(predictor: Predictor, limits: ServeLimits | None = None) -> Starlette:
    """The ASGI application, for `serve` or any other ASGI server.

    Raises:
        MissingExtraError: without the extra `serve`.
    """
    responses, routing = need("starlette.responses"), need("starlette.routing")
    disconnect = need("starlette.requests").ClientDisconnect
    prometheus = need("prometheus_client")
    service = PredictionService(predictor, limits or ServeLimits())

    async def predict(request: Request) -> Response:
        started, status = time.perf_counter(), 500  # what an unexpected error is answered with
        try:
            content = await service.predict(request, _topk(request))
            status = 200
        except RefusedError as error:
            status, content = error.status, {"error": str(error)}
        except disconnect:
            status, content = 499, {"error": "the client has gone"}
        finally:
            service.requests.labels(status).inc()
            service.latency.observe(time.perf_counter() - started)
        headers = {"retry-after": "1"} if status in (429, 503) else {}
        if status in (408, 413, 415):  # the rest of the upload is not read
            headers["connection"] = "close"
        answer: Response = responses.JSONResponse(content, status, headers)
        return answer

    async def health(_: Request) -> Response:
        spec, runs = predictor.input_spec, str(predictor.classifier)
        answer: Response = responses.JSONResponse(
            {"status": "ok", "runs": runs, "classes": len(predictor.classes), "input": spec.to_dict()}
        )
        return answer

    async def metrics(_: Request) -> Response:
        answer: Response = responses.Response(
            prometheus.generate_latest(service.registry), media_type=prometheus.CONTENT_TYPE_LATEST
        )
        return answer

    async def refuse(_: Request, error: Any) -> Response:
        reason = "POST an image to /predict, or GET /health or /metrics"
        answer: Response = responses.JSONResponse({"error": reason}, error.status_code, error.headers)
        return answer

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    route: Callable[..., Any] = routing.Route
    routes: list[Awaitable[Any]] = [
        route("/predict", predict, methods=["POST"]),
        route("/health", health),
        route("/metrics", metrics),
    ]
    app: Starlette = need("starlette.applications").Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={404: refuse, 405: refuse}
    )
    return app


def _topk(request: Request) -> int:
    text = request.query_params.get("topk", "5")
    if not text.isdecimal() or len(text) > 5 or not 1 <= int(text) <= 10_000:
        raise RefusedError(400, f"topk must be a whole number from 1 to 10000, got {text[:20]!r}")
    return int(text)
