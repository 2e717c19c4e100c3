"""`mobileone check-labels`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.cli.device_option import device_name
from mobileone.cli.output import print_json
from mobileone.cli.target_file import refuse_existing, require_drawing, require_target
from mobileone.outside_text import printable

MAX_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class CheckLabels:
    """Labels that are probably wrong, near-duplicates and odd images, as a page and as a table.

    Look through the page, delete the rows of the table that are right as they are, and give what is left to
    train --exclude.

    Example: mobileone check-labels runs/mine --data DIR
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help; its features are what is looked at."""
    data: str
    """Folder with train/<class>/, or with class folders itself; a list; or `digits`."""
    split: Literal["train", "val"] | None = None
    """Which part of it. Default: train, where there is one."""
    probabilities: Literal["cross-validated", "model"] = "cross-validated"
    """Whose: of a regression on the features, fitted without the image; or the model's own, for images that
    it was not trained on."""
    folds: int = 5
    """Of the cross-validation."""
    alike: float = 0.97
    """Cosine from which on two images are near-duplicates."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Table to write, .csv. Default: suspects.csv in a run folder, else here."""
    html: Annotated[Path | None, arg(metavar="FILE")] = None
    """Page to write. Default: suspects.html beside the table."""
    batch_size: int = 32
    """Images at a time."""
    workers: int = 2
    """Threads that decode meanwhile."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or name it and go on."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    force: bool = False
    """Overwrite an existing table."""
    json: bool = False
    """Print the suspects as JSON."""

    def run(self) -> int:
        from mobileone.curation.check_labels import check_labels
        from mobileone.curation.suspect_list import SUMMARY, write_label_page, write_suspects
        from mobileone.data.open import splits_of
        from mobileone.inference.predictor import Predictor

        place = Path(self.model) if Path(self.model).is_dir() else Path()
        table = self.output or place / "suspects.csv"
        page = self.html or table.with_suffix(".html")
        refuse_existing(table, force=self.force)
        require_target(table, ".csv")
        require_drawing(page, ".html")
        predictor = Predictor.load(
            self.model, device=device_name(self.model, self.device), weights_key=self.weights_key
        )
        report = check_labels(
            predictor,
            self.data,
            split=self.split or ("train" if "train" in splits_of(self.data) else "val"),
            probabilities=self.probabilities,
            folds=self.folds,
            alike=self.alike,
            batch_size=self.batch_size,
            workers=self.workers,
            on_bad_image=self.on_bad_image,
            on_skipped=lambda reason: print(f"skipped: {reason}", file=sys.stderr),
        )
        for note in report.notes:
            print(f"note: {note}", file=sys.stderr)
        write_suspects(report, table)
        write_label_page(report, page, title=self.data)
        if self.json:
            print_json(
                {
                    "table": str(table),
                    "page": str(page),
                    "images": len(report.source),
                    "accuracy": report.accuracy,
                    "suspects": [asdict(each) for each in report.suspects],
                }
            )
            return 0
        for each in report.suspects[:MAX_NAMED]:
            words = f"{each.label} → {each.suggested}" if each.reason == "label" else f"like {each.other}"
            print(f"{each.quality:.4f}  {each.reason:<13}  {printable(each.image)}  {printable(words)}")
        counts = [f"{report.count(reason)} {words}" for reason, words in SUMMARY.items()]  # type: ignore[arg-type]
        print(
            f"{', '.join(counts)}, of {len(report.source)} images; {report.probabilities} agrees with "
            f"{100 * report.accuracy:.1f} % of the labels"
        )
        print(f"{table} has them all; {page} shows them; train --exclude {table} leaves them out")
        return 0
