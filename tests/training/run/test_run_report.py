"""The report of a run: its files, and a page that needs nothing else."""

import base64
import csv
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mobileone.cli.main import main
from mobileone.errors import DataError, MobileOneWarning, TrainingError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.run_report import write_report


class Page(HTMLParser):
    """Headings, pictures, table rows, and whatever would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.sources: list[str] = []
        self.outside: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href"):
                (self.sources if (value or "").startswith("data:") else self.outside).append(value or "")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass


@pytest.fixture
def run_dir(config: TrainConfig, tmp_path: Path) -> Path:
    fit(config, run_dir=tmp_path / "run", progress=False)
    return tmp_path / "run"


def test_the_page_holds_everything_and_loads_nothing(run_dir: Path) -> None:
    report = write_report(run_dir, progress=False)
    text = report.page.read_text(encoding="utf-8")
    page = Page(text)
    assert page.outside == []
    assert [h for h in page.headings if h not in ("Mistakes",)] == [
        "Curves",
        "Confusion",
        "Worst classes",
        "Commonest mistakes",
        "Every class",
        "Epochs",
        "Configuration",
    ]
    pictures = [base64.b64decode(source.partition("base64,")[2]) for source in page.sources]
    assert pictures == [(run_dir / "curves.png").read_bytes()] + [p.read_bytes() for p in report.pictures]
    with (run_dir / "metrics.csv").open() as file:
        best = max(float(row["acc@1"]) for row in csv.DictReader(file))
    assert report.answers.acc1 == pytest.approx(best, abs=1e-3)
    assert f"<b>{best:.2f} %</b>" in text
    for name in ("dark", "light", "optim.base_lr", "world_size"):
        assert f">{name}<" in text or f"({name})" in text


def test_markup_in_class_names_is_only_text(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(config.data)
    folder = tmp_path / "photos"
    shutil.copytree(source, folder)
    for split in ("train", "val"):
        first, second, *_ = sorted(path for path in (folder / split).iterdir() if path.is_dir())
        first.rename(first.with_name(r"$\frac"))
        second.rename(second.with_name("z$x_y$"))
    renamed = config.with_values({"data": str(folder)})
    fit(renamed, run_dir=tmp_path / "run", progress=False)
    report = write_report(tmp_path / "run", progress=False)
    assert {path.name for path in report.pictures} >= {"confusion.png", "worst_classes.png"}
    assert r"$\frac" in report.page.read_text(encoding="utf-8")


def test_a_picture_that_fails_costs_the_report_itself_alone(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("mobileone.training.run.run_report.draw_confusion", fail)
    with pytest.warns(MobileOneWarning, match=r"confusion\.png was not drawn: ValueError\('no ink'\)"):
        report = write_report(run_dir, progress=False)
    assert "confusion.png" not in {path.name for path in report.pictures}
    assert "Confusion" not in Page(report.page.read_text(encoding="utf-8")).headings


def test_a_second_report_leaves_no_sheet_of_the_first(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_dir / "mistakes.png").write_bytes(b"old")
    monkeypatch.setattr("mobileone.training.run.run_report.draw_mistakes", lambda *_: 0)
    report = write_report(run_dir, progress=False)
    assert not (run_dir / "mistakes.png").exists()
    assert len(report.pictures) == 2


def test_what_is_no_run_is_refused(config: TrainConfig, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no run"):
        write_report(tmp_path / "nothing")
    with pytest.raises(DataError):
        write_report(run_dir, data=str(tmp_path / "nowhere"))
    (run_dir / "best.safetensors").unlink()
    with pytest.raises(TrainingError, match="a report needs an evaluated epoch"):
        write_report(run_dir)


def test_the_command_reports_a_run_anew(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run_dir)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"acc@1 \d+\.\d+  acc@5 100\.000  n 8", out[0])
    assert out[-1] == str(RunDir(run_dir).path / "report.html")
