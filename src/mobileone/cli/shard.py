"""`mobileone shard`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.cli.output import CountingBar, megabytes, print_json
from mobileone.errors import ConfigError
from mobileone.report.aligned_table import aligned_table


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Pack a data folder into WebDataset shards with an index each, or check shards.

    Example: mobileone shard DIR -o out/shards
    """

    source: Annotated[Positional[str], arg(metavar="DIR")]
    """Folder with train/<class>/ and val/<class>/, or a list of images. With --verify, the shards: their
    folder, or a pattern. With --index, the pattern of one split's shards, such as
    'DIR/train-{000000..000007}.tar'."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder to write. What an interrupted run left there is gone on with; anything else is refused."""
    resize_short: Annotated[int | None, arg(metavar="SIDE")] = None
    """Resize images whose short side is longer, pixels. Default: keep every file as it is."""
    quality: int = 92
    """JPEG quality of resized images, 1–100 (4:2:0)."""
    shard_size: int = 1000
    """Most images in a shard."""
    workers: int | None = None
    """Processes; 0 works in this one. Default: one for every core."""
    verify: bool = False
    """Compare shards with the hashes in their indexes, and write nothing."""
    index: bool = False
    """Write the indexes of WebDataset shards (KEY.jpg, KEY.cls) that something else wrote."""
    split: Literal["train", "val"] | None = None
    """With --index, what the shards are for. Default: as their names begin."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        writes = self.output is not None
        if writes + self.verify + self.index != 1:
            raise ConfigError(
                "shard needs one of -o OUT (write), --verify (check) and --index (of other shards)"
            )
        if self.verify:
            return self._verify()
        return self._write() if writes else self._index()

    def _write(self) -> int:
        from mobileone.data.shards.write import ShardSettings, write_shards

        assert self.output is not None
        settings = ShardSettings(
            shard_size=self.shard_size, resize_short=self.resize_short, quality=self.quality
        )
        with CountingBar("writing", unit="shard") as bar:
            splits = write_shards(
                self.source, self.output, settings=settings, num_workers=self.workers, on_shard=bar.show
            )
        for note in (note for split in splits for note in split.notes):
            print(note, file=sys.stderr)
        if self.json:
            result = {"output": str(self.output), **settings.to_dict()}
            print_json(result | {"splits": [dataclasses.asdict(split) for split in splits]})
            return 0
        rows = [
            [split.split, str(split.num_shards), str(split.num_images), megabytes(split.size_bytes)]
            for split in splits
        ]
        print(aligned_table(["split", "shards", "images", "size"], rows))
        return 0

    def _verify(self) -> int:
        from mobileone.data.shards.verify_shards import verify_shards

        with CountingBar("verifying", unit="shard") as bar:
            shards, images = verify_shards(self.source, num_workers=self.workers, on_shard=bar.show)
        if self.json:
            print_json({"source": self.source, "shards": shards, "images": images})
        else:
            print(f"{shards} shards, {images} images: all as written")
        return 0

    def _index(self) -> int:
        from mobileone.data.shards.index_shards import index_shards

        with CountingBar("indexing", unit="shard") as bar:
            images = index_shards(self.source, split=self.split, num_workers=self.workers, on_shard=bar.show)
        if self.json:
            print_json({"source": self.source, "images": images})
        else:
            print(f"{images} images indexed")
        return 0
