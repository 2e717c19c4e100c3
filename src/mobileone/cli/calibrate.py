"""`mobileone calibrate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.backends.table import backend_of
from mobileone.cli.device_option import device_name
from mobileone.cli.held_out import held_out
from mobileone.cli.output import print_json
from mobileone.cli.target_file import require_drawing
from mobileone.decision import NoveltyScore
from mobileone.errors import ConfigError
from mobileone.report.aligned_table import aligned_table

if TYPE_CHECKING:
    from mobileone.calibration.calibrate import Calibration
    from mobileone.calibration.thresholds import Target


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Make probabilities mean something, and choose from which one on an answer is sure.

    Fitted on images that the model was not trained on, and kept with it: in the run's best weights, the
    checkpoint, or the manifest of an exported file. predict, test, serve and the C engine apply it.

    Example: mobileone calibrate runs/mine --data DIR --target-precision 0.95
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help, or an exported file, which is calibrated as its runtime computes."""
    data: str
    """Folder with val/<class>/, or with class folders itself; shards; hf:owner/name; or `digits`. Of what
    a run of --split or --folds was trained on, the images that it held out are taken."""
    split: Literal["train", "val"] = "val"
    """Which part of it. Of images that the model was trained on, everything comes out too bold."""
    method: Literal["temperature", "vector"] = "temperature"
    """One temperature, which changes no answer, or a temperature and a bias a class."""
    target_precision: float | None = None
    """Share of the sure answers that shall be right, such as 0.95."""
    target_recall: float | None = None
    """Share of all images whose answer shall be sure and right."""
    mistake_cost: float | None = None
    """What a wrong answer costs, where refusing one costs 1."""
    per_class: bool = False
    """A threshold for each class, which alone reaches the target, instead of one for all."""
    ood: Path | None = None
    """Photos of things that are none of the classes: measure how they are told, and refuse novel images."""
    novelty: NoveltyScore | None = None
    """Refuse images whose logits have little of this: energy, or max_logit. Default: energy with --ood."""
    keep: float = 0.95
    """Share of the known images that the novelty limit lets pass."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Write the model with its decision here. Default: into the file itself."""
    html: Annotated[Path | None, arg(metavar="FILE")] = None
    """The report. Default: calibration.html in a run folder, else beside the file."""
    batch_size: int = 64
    """Images at a time; does not change the result."""
    workers: int | None = None
    """Loader processes; 0 loads in this one. Default: one for every core, 8 at most."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them), with --output.
    Default: averaged ones before raw ones."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; exported files run on the CPU, .onnx also on cuda and tensorrt."""
    threads: int | None = None
    """Threads of an exported file's runtime. Default: all cores that may be used."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or leave it out."""
    force: bool = False
    """Overwrite an existing --output."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        target = self._target()
        page = self.html or _page_path(self.model, self.output)
        from mobileone.calibration.calibrate import calibrate
        from mobileone.calibration.calibration_page import write_calibration_page
        from mobileone.calibration.store_decision import check_target, store_decision
        from mobileone.inference.classifier import load_classifier

        check_target(self.model, self.output, force=self.force)
        require_drawing(page, ".html")
        classifier = load_classifier(
            self.model,
            device=device_name(self.model, self.device),
            threads=self.threads,
            weights_key=self.weights_key,
        )
        run_dir = _run_of(self.model)
        result = calibrate(
            classifier,
            held_out(run_dir, self.data),
            split=self.split,
            method=self.method,
            target=target,
            ood=self.ood,
            novelty=self.novelty,
            keep=self.keep,
            run_dir=run_dir,
            batch_size=self.batch_size,
            num_workers=self.workers,
            on_bad_image=self.on_bad_image,
        )
        for note in result.notes:
            print(f"note: {note}", file=sys.stderr)
        kept = store_decision(
            self.model, result.decision, output=self.output, weights_key=self.weights_key, force=self.force
        )
        write_calibration_page(result, page, title=self.model)
        if self.json:
            print_json(result.to_dict() | {"kept": str(kept), "page": str(page)})
            return 0
        print("\n".join(_lines(result)))
        print(f"kept in {kept}; {page} has the diagrams")
        return 0

    def _target(self) -> Target | None:
        from mobileone.calibration.thresholds import Target

        given: list[tuple[Literal["precision", "recall", "cost"], float | None]] = [
            ("precision", self.target_precision),
            ("recall", self.target_recall),
            ("cost", self.mistake_cost),
        ]
        targets = [
            Target(aim=aim, value=value, per_class=self.per_class)
            for aim, value in given
            if value is not None
        ]
        if len(targets) > 1:
            raise ConfigError("give one of --target-precision, --target-recall and --mistake-cost")
        if self.per_class and not targets:
            raise ConfigError("--per-class needs --target-precision, --target-recall or --mistake-cost")
        return targets[0] if targets else None


def _page_path(model: str, output: Path | None) -> Path:
    """Where the report goes, unless told: into a run's folder, beside a file, or here."""
    place = output or Path(model)
    if place.is_dir():
        return place / "calibration.html"
    if output is not None or place.exists():
        return place.with_name(f"{place.name}.calibration.html")
    return Path("calibration.html")


def _run_of(model: str) -> Path | None:
    """The run that trained it: the folder given, that of the file, or the one that it was exported from."""
    if backend_of(model) is not None:
        from mobileone.backends.manifest import read_manifest

        model = read_manifest(model).source
    path = Path(model) if model else None
    if path is None or not path.exists():
        return None
    return path if path.is_dir() else path.parent


def _lines(result: Calibration) -> list[str]:
    from mobileone.calibration.calibration_page import summary_rows

    decision = result.decision
    rows = [list(row) for row in summary_rows(result)]
    lines = [aligned_table(["", "before", "after"], rows)]
    if len(decision.temperatures) == 1:
        lines.append(f"temperature {decision.temperatures[0]:.4f}")
    told = decision.evidence.get("target", "none")
    right = (
        "" if result.accepted_accuracy is None else f", {100 * result.accepted_accuracy:.2f} % of them right"
    )
    what = "sure answers" if result.task == "singlelabel" else "labels given"
    sure = f"{what} {100 * result.coverage:.1f} %{right}; of all {100 * result.accuracy:.2f} %"
    if told != "none":
        least, most = min(decision.thresholds), max(decision.thresholds)
        where = f"from {least:.4f} on" if least == most else f"from {least:.4f} to {most:.4f} on, by class"
        lines.append(f"{told}: sure {where}")
    lines.append(sure)
    lines += [
        f"novel images, {each.score}: AUROC {each.auroc:.4f}, FPR at 95 % TPR {each.fpr95:.4f}"
        for each in result.novelty
    ]
    return lines
