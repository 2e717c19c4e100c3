"""Whether shards are still what was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from mobileone.data.pool import in_processes
from mobileone.data.shards.address import expand, is_remote
from mobileone.data.shards.shard_source import read_index
from mobileone.errors import ConfigError, DataError
from mobileone.file_hash import sha256_of
from mobileone.outside_text import printable
from mobileone.regular_file import open_regular

MAX_NAMED = 10


def verify_shards(
    data: str | Path,
    *,
    num_workers: int | None = None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Hash local shards and compare them with their indexes.

    Args:
        data: a folder of shards, or a pattern of local ones.
        num_workers: processes; 0 works in this one, None takes one for every core.
        on_shard: told after every shard how many are done, of how many.

    Returns:
        The number of shards and of images, all of them as written.

    Raises:
        DataError: if any differs, naming the images that do; or if shards are missing.
    """
    paths = local_shards(data)
    found: list[str] = []
    images = 0
    for done, (count, problem) in enumerate(in_processes(_verify, paths, num_workers=num_workers), start=1):
        images += count
        found += [problem] if problem else []
        on_shard(done, len(paths))
    if found:
        raise DataError(f"{len(found)} of {len(paths)} shards are damaged: {'; '.join(found)}")
    return len(paths), images


def local_shards(data: str | Path) -> list[Path]:
    """The shards of a folder, or of a pattern of local ones, none missing.

    Raises:
        ConfigError: on shards that are elsewhere.
        DataError: if one is missing, or there is none.
    """
    folder = Path(data)
    if not os.path.isdir(data):
        addresses = expand(str(data))
        remote = next((address for address in addresses if is_remote(address)), None)
        if remote:
            raise ConfigError(
                f"{remote} is not a local file; shards from elsewhere are checked when they are fetched"
            )
        return [Path(address) for address in addresses]
    paths = sorted(folder.glob("*.tar"))
    names = {path.name for path in paths}
    for path in paths[:1] + paths[-1:]:
        index = read_index(str(path))
        for split, number in index.shards.items():
            for i in range(number):
                if f"{split}-{i:06d}.tar" not in names:
                    raise DataError(
                        f"{folder / f'{split}-{i:06d}.tar'} is missing, one of {number} {split} shards"
                    )
    if not paths:
        raise DataError(f"{folder} holds no shards (*.tar)")
    return paths


def _verify(path: Path) -> tuple[int, str]:
    """Images in a shard, and what is wrong with it in words; empty if nothing."""
    shown = printable(path)
    try:
        index = read_index(str(path))
        with open_regular(path) as file:
            if sha256_of(file) == index.tar_sha256:
                return len(index), ""
            damaged = []
            for name, offset, size, expected in zip(
                index.names, index.offsets, index.sizes, index.sha256, strict=True
            ):
                file.seek(offset)
                if hashlib.sha256(file.read(size)).hexdigest() != expected:
                    damaged.append(name)
    except DataError as error:
        return 0, str(error)
    except OSError as error:
        return 0, f"{shown} cannot be read ({error.strerror or error})"
    named = ", ".join(damaged[:MAX_NAMED]) + (
        f" and {len(damaged) - MAX_NAMED} more" if len(damaged) > MAX_NAMED else ""
    )
    return len(index), f"{shown} ({named or 'between the images'})"
