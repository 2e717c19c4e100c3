"""Data that a run divided by itself, divided as it was: nothing is measured on what it trained on."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def held_out(run: Path | None, data: str) -> str:
    """What to take in the place of data that a run divided: its record, a list with its sides.

    Args:
        run: the folder of the run that trained the model; None, or any other path, divided nothing.
        data: as it was given.
    """
    record = None if run is None else run / "split.jsonl"
    if run is None or record is None or not record.is_file() or data == str(record):
        return data
    from mobileone.training.run.run_dir import RunDir

    if os.path.realpath(data) != os.path.realpath(RunDir(run).stored_config().data):
        return data
    print(f"{run} trained on a part of {data}: divided as {record} says", file=sys.stderr)
    return str(record)
