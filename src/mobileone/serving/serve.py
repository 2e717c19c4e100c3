"""Run the server until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mobileone.backends.table import Precision
from mobileone.inference.predictor import Predictor
from mobileone.serving.app import ServeLimits, make_app, need
from mobileone.serving.listen import CONNECTIONS, listen

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Config

STOP_S = 10


def serve(
    source: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServeLimits | None = None,
    device: str | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    weights_key: str | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; what was uploaded by then is still answered.

    Args:
        source: an exported file, or anything `Predictor.load` takes.
        host: address to listen at; the default is this machine alone.
        port: 0 takes a free one.
        limits: on uploads, waiting and batches.
        device: where it is computed, such as `"cuda"`; None is the CPU.
        threads: of an exported file's runtime.
        precision: to execute it in.
        weights_key: which weights of a checkpoint that has several, as of `load_model`.
        on_start: told the server's address when it listens.

    Raises:
        ConfigError: if the address cannot be listened at, or there is no such device.
        ArtifactError, CheckpointError, MissingExtraError: if the source cannot be loaded.
    """
    uvicorn = need("uvicorn")
    listener = listen(host, port)
    with listener:
        predictor = Predictor.load(
            source, device=device, threads=threads, precision=precision, weights_key=weights_key
        )
        limits = limits or ServeLimits()
        config = configure(make_app(predictor, limits), limits)
        name, number = listener.getsockname()[:2]
        on_start(f"http://{f'[{name}]' if ':' in name else name}:{number}")
        uvicorn.Server(config).run(sockets=[listener])


def configure(app: Starlette, limits: ServeLimits) -> Config:
    """How the server runs an application.

    Raises:
        MissingExtraError: without the extra `serve`.
    """
    config: Config = need("uvicorn").Config(
        app,
        http=_hasty_protocol(limits.upload_s),
        log_level="warning",
        access_log=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
    )
    return config


def _hasty_protocol(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP, which closes a connection where a request's headers take longer than that.

    Its own timeout ends with a request's first byte, and `limit_concurrency` counts open connections.
    """
    base = need("uvicorn.protocols.http.auto").AutoHTTPProtocol

    class HastyProtocol(base):  # type: ignore[misc, valid-type]
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.late = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:  # headers are complete: from here on the application has its limits
                self.forget()
            elif self.late is None and self.cycle.response_complete:  # the next request, or what is not read
                self.late = self.loop.call_later(seconds, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self.forget()
            super().connection_lost(exc)

        def forget(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return HastyProtocol
