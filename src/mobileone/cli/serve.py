"""`mobileone serve`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from mobileone.backends.table import Precision
from mobileone.cli.device_option import device_name
from mobileone.cli.words import ARTIFACT


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer images over HTTP: POST /predict, GET /health, GET /metrics.

    Example: mobileone serve s0.onnx, then curl --data-binary @photo.jpg localhost:8000/predict
    """

    model: Annotated[str, ARTIFACT]
    """An exported file, or MODEL, see mobileone --help."""
    host: str = "127.0.0.1"
    """Address to listen at. Default: this machine alone; 0.0.0.0 is every network, without encryption."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    max_bytes: int = 16 * 2**20
    """Largest upload; more is refused with 413."""
    upload_s: float = 10.0
    """Seconds in which an upload must be complete; later is refused with 408."""
    answer_s: float = 10.0
    """Seconds in which an uploaded image must be answered; later is refused with 503."""
    queue_size: int = 64
    """Images that may wait; one more is refused with 429."""
    batch_size: int = 8
    """Most images classified together."""
    workers: int = 2
    """Threads that decode."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; exported files run on the CPU, .onnx also on cuda and tensorrt."""
    threads: int | None = None
    """Threads of an exported file's runtime. Default: all cores that may be used."""
    precision: Precision | None = None
    """Arithmetic: of an exported file's runtime, or fp32, bf16 or fp16. Default: the model's."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""

    def run(self) -> int:
        from mobileone.cli.terminal import Terminated
        from mobileone.serving.app import ServeLimits
        from mobileone.serving.serve import serve

        limits = ServeLimits(
            max_bytes=self.max_bytes,
            upload_s=self.upload_s,
            answer_s=self.answer_s,
            queue_size=self.queue_size,
            batch_size=self.batch_size,
            workers=self.workers,
        )
        try:
            serve(
                self.model,
                host=self.host,
                port=self.port,
                limits=limits,
                device=device_name(self.model, self.device),
                threads=self.threads,
                precision=self.precision,
                weights_key=self.weights_key,
                on_start=lambda address: print(f"serving {self.model} at {address}", file=sys.stderr),
            )
        except (KeyboardInterrupt, Terminated):  # raised again once everything is answered
            print("stopped", file=sys.stderr)
        return 0
