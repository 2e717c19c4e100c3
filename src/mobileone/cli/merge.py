"""`mobileone merge`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mobileone.cli.output import CountingBar, print_json, result_line
from mobileone.cli.target_file import refuse_existing
from mobileone.cli.words import OUTPUT, Word
from mobileone.outside_text import printable

FOLDER = Word(metavar="DIR", is_positional=True)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Prove that every image has one result in a folder that predict, embed or test wrote, and make one file.

    Of a test it prints the figures of all images.

    Example: mobileone merge out -o all.parquet
    """

    folder: Annotated[Path, FOLDER]
    """Folder of the results."""
    output: Annotated[Path | None, OUTPUT] = None
    """Write all results to this .jsonl or .parquet, of vectors also .npy. Default: prove alone."""
    force: bool = False
    """Overwrite an existing --output."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.curation.embeddings import files_of
        from mobileone.parts.merge import merge

        if self.output is not None:
            refuse_existing(*files_of(self.output), force=self.force)
        with CountingBar("merging", unit="part") as bar:
            merged = merge(self.folder, self.output, force=self.force, on_progress=bar.show)
        if self.json:
            print_json(merged.to_dict())
            return 0
        unreadable = f", {merged.unreadable} of them unreadable" if merged.unreadable else ""
        proof = f"{merged.parts} parts, {merged.images} images, each once{unreadable}"
        print(proof, file=sys.stdout if merged.result is None else sys.stderr)
        if merged.result is not None:
            print(result_line(merged.result))
        if merged.output is not None:
            print(f"wrote {printable(merged.output)}", file=sys.stderr)
        return 0
