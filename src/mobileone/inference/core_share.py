"""How many threads decode beside the network: measured, on a photo of those that are to be classified."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mobileone.images.any_image import AnyImage
from mobileone.inference.predictor import Predictor
from mobileone.processor import num_cores

RUNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreShare:
    """A division of the cores.

    Attributes:
        decode_ms: milliseconds that decoding, resizing and cutting the photo takes.
        network_ms: that the network takes for it, with all its threads.
        cores: that this process may use.
    """

    decode_ms: float
    network_ms: float
    cores: int

    @property
    def workers(self) -> int:
        """Threads that decode: their part of the time is their part of the cores, one at least.

        >>> CoreShare(decode_ms=9.0, network_ms=3.0, cores=4).workers
        3
        """
        share = self.decode_ms / max(self.decode_ms + self.network_ms, 1e-9)
        return min(max(round(self.cores * share), 1), self.cores)

    def __str__(self) -> str:
        return (
            f"{self.workers} of {self.cores} cores decode: a photo takes {self.decode_ms:.1f} ms, "
            f"the network {self.network_ms:.1f} ms"
        )


def measure_core_share(predictor: Predictor, photo: AnyImage, *, cores: int | None = None) -> CoreShare:
    """The division that suits a photo, by the fastest of a few runs.

    Args:
        predictor: as it will be used.
        photo: one of many that are much alike.
        cores: to divide; None is all that this process may use.

    Raises:
        BadImageError: if the photo cannot be decoded.
    """
    view = predictor.view(photo)
    predictor.probabilities_of([view])  # the first run of a network allocates
    return CoreShare(
        decode_ms=_fastest_ms(lambda: predictor.view(photo)),
        network_ms=_fastest_ms(lambda: predictor.probabilities_of([view])),
        cores=cores or num_cores(),
    )


def _fastest_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started))
    return min(times)
