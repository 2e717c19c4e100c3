"""Run the server until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Callable

from mobileone.backends.table import Precision
from mobileone.inference.predictor import Predictor
from mobileone.serving.app import ServeLimits, make_app, need
from mobileone.serving.listen import CONNECTIONS, listen

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
        app = make_app(predictor, limits)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=STOP_S,
            server_header=False,
        )
        name, number = listener.getsockname()[:2]
        on_start(f"http://{f'[{name}]' if ':' in name else name}:{number}")
        uvicorn.Server(config).run(sockets=[listener])
