"""Data that a run divided by itself, divided as it was: nothing is measured on what it trained on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.data.hub_address import is_hub_data

if TYPE_CHECKING:
    from mobileone.data.source import ImageSource


def held_out(run: Path | None, data: str) -> str | ImageSource:
    """What to take in the place of data that a run divided: its record, a list with its sides.

    Of a set of the hub, whose images no list can name, the images that it held out.

    Args:
        run: the folder of the run that trained the model; None, or any other path, divided nothing.
        data: as it was given.
    """
    if run is None:
        return data
    record = run / "split.jsonl"
    if not record.is_file() or data == str(record):
        return data
    from mobileone.training.run.run_dir import RunDir

    if os.path.realpath(data) != os.path.realpath(RunDir(run).stored_config().data):
        return data
    print(f"{run} trained on a part of {data}: divided as {record} says", file=sys.stderr)
    return _recorded_part(data, record) if is_hub_data(data) else str(record)


def _recorded_part(data: str, record: Path) -> ImageSource:
    import numpy as np

    from mobileone.data.open import open_whole
    from mobileone.data.source import notes_of
    from mobileone.data.split_record import recorded_sides
    from mobileone.data.subset import Subset

    whole = open_whole(data)
    is_val = recorded_sides(record, whole, groups=np.arange(len(whole)))
    return Subset(whole, np.flatnonzero(is_val), notes_of(whole))
