"""Predictions for batches as frameworks hand them round: columns of NumPy arrays in, columns out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.inference.ahead import map_ahead
from mobileone.inference.classifier import array_embeddings
from mobileone.inference.predictor import Predictor, largest
from mobileone.variants import check_count

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage

Columns = dict[str, NDArray[Any]]
IMAGE_COLUMNS = ("image", "bytes", "path")
"""Where images are looked for, as `ray.data.read_images` and `read_binary_files` name them."""


class BatchPredictor:
    """A callable for `map_batches` of Ray Data: the network is loaded once in each actor.

        photos = ray.data.read_binary_files("photos/")
        photos.map_batches(mobileone.BatchPredictor, fn_constructor_args=("s0.onnx",), batch_size=64)

    Args:
        source: an exported file, or anything `load_model` takes.
        task: "predict", or "embed" for pooled features.
        column: of the images: files' contents, paths, or uint8 pixels (H, W, 3); None takes the first of
            `image`, `bytes` and `path` that a batch has. It is left out of the answer.
        topk: classes to name for each image; at most all.
        workers: threads that decode.
        on_bad_image: "error", or "skip" to write why into the column `error`.
        device: where a network in PyTorch runs; None is the CPU.
        threads: of an exported file's runtime; None for all usable cores.

    Raises:
        ConfigError: on values out of range, or a network without classes where it shall predict.

    >>> from mobileone.model.create import create_model
    >>> predict = BatchPredictor(create_model("mobileone_s0", num_classes=2, form="inference").eval())
    >>> answer = predict({"image": np.zeros((3, 30, 40, 3), np.uint8), "id": np.arange(3)})
    >>> {name: column.shape for name, column in answer.items()}
    {'id': (3,), 'index': (3, 2), 'class_name': (3, 2), 'probability': (3, 2), 'error': (3,)}
    """

    def __init__(
        self,
        source: Any,
        *,
        task: Literal["predict", "embed"] = "predict",
        column: str | None = None,
        topk: int = 5,
        workers: int = 2,
        on_bad_image: OnBadImage = "error",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        check_count(topk, "topk", least=1)
        check_count(workers, "workers", least=1)
        if task not in ("predict", "embed"):
            raise ConfigError(f"task must be predict or embed, got {task!r}")
        if on_bad_image not in ("error", "skip"):
            raise ConfigError(f"on_bad_image must be error or skip, got {on_bad_image!r}")
        self.task, self.column = task, column
        self.workers, self.on_bad_image = workers, on_bad_image
        if isinstance(source, str | os.PathLike):
            self.predictor = Predictor.load(source, device=device, threads=threads)
        else:
            self.predictor = Predictor(source, device=device or "cpu")
        self.topk = min(topk, len(self.predictor.classes)) if task == "predict" else 0
        if task == "predict":
            self.predictor.stream([])  # refuses a network without classes
        self._classes = np.array(self.predictor.classes, dtype=object)

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> Columns:
        """The other columns of a batch, and the answers, a row an image.

        Args:
            batch: columns of N rows.

        Returns:
            To predict `index` int (N, topk), `class_name` and `probability` float32, best first, and of a
            calibrated network `sure`, bool (N,); to embed `vector`, float32 (N, num_features); and `error`,
            empty where there is none. A skipped image has the index −1, probabilities and vectors of NaN.

        Raises:
            DataError: if there is no column of images.
            BadImageError: on a bad image, under "error".
        """
        column = self._image_column(batch)
        views = list(map_ahead(self._view, batch[column], workers=self.workers, ahead=4 * self.workers))
        good = [place for place, view in enumerate(views) if not isinstance(view, BadImageError)]
        errors = np.array([str(view) if isinstance(view, BadImageError) else "" for view in views], object)
        answers = self._vectors if self.task == "embed" else self._scores
        found: Columns = {}
        for name, values, missing in answers([views[place] for place in good]):
            whole = np.full((len(views), *values.shape[1:]), missing, values.dtype)
            whole[good] = values
            found[name] = whole
        return {name: values for name, values in batch.items() if name != column} | found | {"error": errors}

    def _image_column(self, batch: Mapping[str, NDArray[Any]]) -> str:
        wanted = IMAGE_COLUMNS if self.column is None else (self.column,)
        found = next((name for name in wanted if name in batch), None)
        if found is None:
            raise DataError(
                f"a batch has the columns {', '.join(batch) or 'none'}, and no {' or '.join(wanted)}; name "
                "that of the images as column"
            )
        return found

    def _view(self, image: Any) -> NDArray[np.uint8] | BadImageError:
        try:
            return self.predictor.view(image)
        except BadImageError as error:
            if self.on_bad_image == "error":
                raise
            return error

    def _scores(self, views: list[Any]) -> list[tuple[str, NDArray[Any], Any]]:
        rows = np.empty((len(views), len(self._classes)), np.float32)
        sure = np.ones(len(views), bool)
        size = self.predictor.batch_size
        for start in range(0, len(views), size):
            for place, (row, doubt) in enumerate(self.predictor.answers_of(views[start : start + size])):
                rows[start + place], sure[start + place] = row, doubt is None
        best = np.array([largest(row, self.topk) for row in rows], np.int64).reshape(-1, self.topk)
        scores = [
            ("index", best, -1),
            ("class_name", self._classes[best], ""),
            ("probability", np.take_along_axis(rows, best, 1), np.nan),
        ]
        return scores if self.predictor.decision is None else [*scores, ("sure", sure, False)]

    def _vectors(self, views: list[Any]) -> list[tuple[str, NDArray[Any], Any]]:
        if not views:
            return [("vector", self.predictor.embed([]), np.nan)]
        size = self.predictor.batch_size
        parts = [
            array_embeddings(self.predictor.classifier, np.stack(views[start : start + size]))
            for start in range(0, len(views), size)
        ]
        return [("vector", np.concatenate(parts), np.nan)]
