"""Run OpenVINO's .xml and .bin files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import BACKENDS, Precision, require
from mobileone.errors import ArtifactError

# The CPU plugin runs a float32 model in bfloat16 where the processor can, unless told.
_HINTS: dict[Precision, str] = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}


class OpenVinoSession:
    """An OpenVINO model compiled for this processor.

    `int8` runs the quantised operators in int8 and the others, if any, in float32.
    """

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        ov = require("openvino", BACKENDS["openvino"])
        compiled = ov.Core().compile_model(
            str(path),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
            },
        )
        runs = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if runs != _HINTS[precision]:
            raise ArtifactError(f"OpenVINO runs {path} in {runs} on this processor, not in {precision}")
        self._compiled = compiled
        self._requests = threading.local()
        self._manifest = manifest
        self.runtime = f"OpenVINO {ov.__version__.partition('-')[0]}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        # An array itself is lent, one in a list is copied; the output is lent too, until the next call.
        return as_logits(self._request().infer(batch, share_inputs=True)[0], self._manifest).copy()

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        maps = self._request().infer(batch, share_inputs=True)
        return [each.copy() for each in as_features([maps[i] for i in range(len(maps))], self._manifest)]

    def _request(self) -> Any:
        """This thread's own: a request holds input, features and output of the one run that it is at."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        return self._requests.own


open = OpenVinoSession
