"""How a data set on the Hugging Face hub, or one saved by its library, is named: `hf:owner/name:split`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from mobileone.errors import DataError
from mobileone.outside_text import printable

PREFIX = "hf:"
SAVED = ("dataset_dict.json", "state.json")
"""One of them lies in a folder that the library's `save_to_disk` wrote."""
OPTIONS = ("config", "image", "label", "stream")
ANSWERS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAddress:
    """`hf:PLACE[@REVISION][:SPLIT][?config=…&image=…&label=…&stream=true]`, taken apart.

    Attributes:
        place: `owner/name` or `name` on the hub, or a folder: what begins with `/`, `./`, `../` or `~`.
        revision: branch, tag or commit; None is the main branch.
        split: which split; None is the one that is for what is being done.
        config: of the data set, where it has several.
        image: column of the images; None is the only one.
        label: column of the labels, likewise.
        stream: whether its Parquet files are read where they are, and not downloaded first.
    """

    place: str
    revision: str | None = None
    split: str | None = None
    config: str | None = None
    image: str | None = None
    label: str | None = None
    stream: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder that it names; None if it names a place on the hub."""
        return Path(self.place).expanduser().absolute() if _is_folder(self.place) else None

    def __str__(self) -> str:
        return f"{PREFIX}{self.place}"


def is_hub_data(data: str | os.PathLike[str]) -> bool:
    """Whether a data argument names such a data set."""
    return os.fspath(data).startswith(PREFIX)


def hub_place(data: str) -> str | None:
    """Where on the hub a data argument's set is; None if it is elsewhere.

    >>> hub_place("hf:owner/name:train"), hub_place("hf:./saved"), hub_place("digits")
    ('owner/name', None, None)
    """
    if not is_hub_data(data):
        return None
    address = parse_hub_address(data)
    return address.place if address.folder is None else None


def is_saved_here(data: str) -> bool:
    """Whether it names a folder that the library saved on this machine, so that nobody is asked for anything.

    Any other folder may hold a README that sends the library to addresses of its own.

    >>> is_saved_here("hf:./nowhere"), is_saved_here("hf:owner/name")
    (False, False)
    """
    folder = parse_hub_address(data).folder
    return folder is not None and any((folder / name).is_file() for name in SAVED)


def parse_hub_address(data: str | os.PathLike[str]) -> HubAddress:
    """The parts of an address for which `is_hub_data`.

    Raises:
        DataError: if it has none, or an option that there is not.

    >>> parse_hub_address("hf:owner/name:test?label=fine").label
    'fine'
    """
    text = os.fspath(data)
    body, _, query = text.removeprefix(PREFIX).partition("?")
    place, _, split = body.rpartition(":") if ":" in body.rpartition("/")[2] else (body, "", "")
    place, _, revision = (place, "", "") if _is_folder(place) else place.partition("@")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        options = {query: ""}
    unknown = [name for name, value in options.items() if name not in OPTIONS or not value]
    if not place or unknown:
        what = f"?{unknown[0]}" if unknown else "no name"
        raise DataError(
            "a data set on the hub is hf:owner/name[@revision][:split]"
            f"[?config=…&image=…&label=…&stream=true], got {printable(what):.60} in {printable(text):.200}"
        )
    if (answer := options.pop("stream", "false")) not in ANSWERS:
        raise DataError(f"stream is true or false, got {printable(answer):.60} in {printable(text):.200}")
    return HubAddress(
        place=place, revision=revision or None, split=split or None, stream=ANSWERS[answer], **options
    )


def _is_folder(place: str) -> bool:
    return place.startswith(("/", "./", "../", "~")) or os.path.isabs(place)
