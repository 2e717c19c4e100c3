"""Images that look like one, by what a network sees in them."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mobileone.curation.embed import embed_probe
from mobileone.curation.embeddings import Embeddings
from mobileone.curation.neighbours import nearest, unit
from mobileone.errors import ConfigError, DataError, MobileOneWarning
from mobileone.images.any_image import AnyImage
from mobileone.inference.classifier import Classifier
from mobileone.inference.predictor import Predictor

if TYPE_CHECKING:
    from mobileone.model.network import MobileOne

SAME = 0.995
"""Cosine above which two networks' vectors of one picture are of one network, in whatever precision."""


@dataclass(frozen=True, slots=True)
class LookAlike:
    """An image that looks like another.

    Attributes:
        image: its name among the vectors.
        label: its class; None where unknown.
        similarity: cosine of the two vectors, in [-1, 1].
    """

    image: str
    label: str | None
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def similar(
    model: MobileOne | Classifier | Predictor,
    image: AnyImage,
    vectors: Embeddings,
    *,
    number: int = 10,
) -> tuple[LookAlike, ...]:
    """The images nearest to one, nearest first; one that is itself among them comes with a similarity of 1.

    Args:
        model: as of `embed`, the one that gave the vectors; another is noticed and a `MobileOneWarning`.
        image: a path, Pillow image, array or tensor.
        vectors: of `embed`, or read from a file.
        number: how many, at most all.

    Raises:
        ConfigError: if number is below 1, or the model gives no embeddings.
        DataError: if the vectors are of another length than the model's, or there are none.
        BadImageError: if the image cannot be decoded.
        MissingExtraError: without faiss.
    """
    if number < 1:
        raise ConfigError(f"number must be at least 1, got {number}")
    if not len(vectors):
        raise DataError("there are no vectors to look among")
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    query = predictor.embed([image])
    places, cosines = nearest(unit(vectors.vectors), unit(query), number)
    _compare_probes(predictor, vectors)
    return tuple(
        LookAlike(
            vectors.names[place], None if vectors.labels is None else vectors.labels[place], float(cosine)
        )
        for place, cosine in zip(places[0], cosines[0], strict=True)
    )


def _compare_probes(predictor: Predictor, vectors: Embeddings) -> None:
    if not len(vectors.probe):
        return
    cosine = float((unit(vectors.probe[None]) * unit(embed_probe(predictor))).sum())
    if not np.isfinite(cosine) or cosine < SAME:
        warnings.warn(
            f"these vectors are of another network, or another input size ({vectors.model}): its vector of "
            f"a test picture has a cosine of {cosine:.3f} with this one's; embed again with this model",
            MobileOneWarning,
            stacklevel=3,
        )
