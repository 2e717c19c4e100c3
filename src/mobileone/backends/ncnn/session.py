"""Run ncnn's .param and .bin files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import BACKENDS, Precision, require
from mobileone.errors import ArtifactError

# Names that pnnx gives: the first input, and the outputs with their numbers behind.
INPUT, OUTPUT = "in0", "out"


class NcnnSession:
    """An ncnn network on the CPU; it takes one image at a time, so a batch runs image by image."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        ncnn = require("ncnn", BACKENDS["ncnn"])
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_vulkan_compute = False
        # Its own defaults round weights and features to half precision where the processor can.
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(net.opt, option, False)
        for option in ("use_bf16_packed", "use_bf16_storage"):
            if hasattr(net.opt, option):
                setattr(net.opt, option, precision == "bf16")
        weights = path.with_name(path.name.removesuffix(".param") + ".bin")
        if net.load_param(str(path)) or net.load_model(str(weights)):
            raise ArtifactError(f"ncnn cannot load {path} with {weights.name}")
        self._ncnn, self._net = ncnn, net
        self._manifest = manifest
        self.runtime = f"ncnn {ncnn.__version__}"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        return as_logits(self._run(batch, outputs=1)[0], self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        return as_features(self._run(batch, outputs=len(self._manifest.features)), self._manifest)

    def _run(self, batch: Array, *, outputs: int) -> list[Array]:
        each = zip(*(self._run_one(image, outputs) for image in batch), strict=True)
        return [np.stack(parts) for parts in each]

    def _run_one(self, image: Array, outputs: int) -> list[Array]:
        with self._net.create_extractor() as extractor:
            extractor.input(INPUT, self._ncnn.Mat(np.ascontiguousarray(image)))
            arrays = []
            for number in range(outputs):
                status, out = extractor.extract(f"{OUTPUT}{number}")
                if status:
                    raise ArtifactError(f"ncnn stopped with status {status}")
                arrays.append(np.array(out))
            return arrays


open = NcnnSession
