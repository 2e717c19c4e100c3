"""The report of a run: its files, and a page that needs nothing else."""

import base64
import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
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


@pytest.fixture(scope="module")
def trained() -> list[Path]:
    """The run that is copied for each test; none before the first."""
    return []


@pytest.fixture
def run_dir(
    config: TrainConfig, tmp_path: Path, trained: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    if not trained:
        folder = tmp_path_factory.mktemp("trained")
        data = shutil.copytree(config.data, folder / "data")
        fit(replace(config, data=str(data)), run_dir=folder / "run", progress=False)
        trained.append(folder / "run")
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


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


@pytest.fixture
def foreign(run_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """Changes fields of a run's config.json, as a stranger could."""

    def change(environment: dict[str, object] | None = None, **fields: object) -> Path:
        files = RunDir(run_dir)
        content = json.loads(files.config.read_text())
        content["config"] |= fields
        content["environment"] |= environment or {}
        files.config.write_text(json.dumps(content))
        return run_dir

    return change


@pytest.mark.parametrize("field", ["data", "val_data"])
@pytest.mark.parametrize(
    "address",
    [
        "pipe:touch {}/was-here; cat a.tar",
        "https://127.0.0.1:9/a.tar",
        "gs://bucket/a.tar",
        "file:///a.tar",
    ],
)
def test_a_pipe_in_a_foreign_run_folder_is_refused(field, address, foreign, tmp_path, capsys) -> None:
    run_dir = foreign(**{field: address.format(tmp_path)})
    for command in (["report", run_dir], ["train", "--run-dir", run_dir, "--resume"]):
        assert main([str(word) for word in command]) == 1
        err = capsys.readouterr().err
        assert f"names {field}=" in err
        assert "nothing that a file names is executed or fetched" in err
        assert ("--data" if field == "data" else "--set val_data=") in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "was-here").exists()


def test_a_pipe_in_a_run_folder_gives_way_to_what_the_user_names(run_dir, foreign, tmp_path, capsys) -> None:
    data = RunDir(run_dir).read_config().data
    foreign(data=f"pipe:touch {tmp_path}/was-here")
    assert main(["report", str(run_dir), "--data", data]) == 0
    for given in (["--data", data], ["--set", f"data={data}"]):
        assert main(["train", "--run-dir", str(run_dir), "--resume", "--no-report", *given]) == 0
    assert not (tmp_path / "was-here").exists()
    assert capsys.readouterr().out.count("acc@1") == 3


@pytest.mark.parametrize("changes", [{"init": "hf-hub:a/b"}, {"distill": {"teacher": "hf-hub:a/b@c"}}])
def test_a_model_of_the_hub_in_a_hostile_run_folder_is_not_fetched(changes, run_dir, foreign, capsys) -> None:
    foreign(**changes)
    assert main(["train", "--run-dir", str(run_dir), "--resume"]) == 1
    assert re.search(
        r"names (init|distill\.teacher)=hf-hub:a/b.* (--init|--set distill\.teacher)", capsys.readouterr().err
    )
    assert main(["report", str(run_dir)]) == 0  # which has no use for it


@pytest.mark.parametrize("place", ["a/b:train", "./parquet", "/nowhere/parquet:train"])
def test_data_of_the_hub_in_a_hostile_run_folder_is_not_fetched(place, run_dir, foreign, capsys) -> None:
    # A folder's README may send the hub's library to other places too.
    foreign(data=f"hf:{place}")
    for command in (["train", "--run-dir", str(run_dir), "--resume"], ["report", str(run_dir)]):
        assert main(command) == 1
        assert "nothing that a file names is executed or fetched, so pass --data" in capsys.readouterr().err


def test_a_pipe_is_not_started_by_a_dry_run(tmp_path, capsys) -> None:
    command = ["train", "--data", f"pipe:touch {tmp_path}/was-here; cat a.tar", "--dry-run", "--run-dir"]
    assert main([*command, str(tmp_path / "run")]) == 1
    assert "a dry run starts no programs, and data=pipe:" in capsys.readouterr().err
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize(
    ("hostile", "complaint"),
    [
        (lambda run: (run / "metrics.csv").write_text("epoch\n"), "metrics.csv is not the metrics of a run"),
        (lambda run: (run / "metrics.csv").write_text("a,b\n1,2\n"), "lacks columns"),
        (lambda run: edit(run / "metrics.csv", r"(?m)^1,.*$", "1,x,,,,,,,,,"), "metrics.csv is not"),
        (lambda run: edit(run / "metrics.csv", r"(?m)^1,\d+", "1,1e999"), "not finite"),
        (lambda run: fifo(run / "metrics.csv"), "no regular file but a pipe"),
        (lambda run: fifo(run / "config.json"), "no regular file but a pipe"),
        (lambda run: (run / "config.json").write_text("[" * 100_000), "nested too deeply"),
        (lambda run: edit(run / "config.json", r'"world_size": 1', '"world_size": -1'), "on -1 ranks"),
        (lambda run: edit(run / "config.json", r'"world_size": 1', '"world_size": 1e999'), "on inf ranks"),
        (
            lambda run: edit(run / "config.json", r'"version": \d+', '"version": Infinity'),
            "not a run's config",
        ),
        (lambda run: edit(run / "config.json", r'"size": \d+', '"size": 1000000000'), "1..8192"),
    ],
)
def test_a_hostile_run_folder_is_one_line(hostile, complaint, run_dir, capsys, no_hang) -> None:
    hostile(run_dir)
    assert main(["report", str(run_dir)]) == 1
    err = capsys.readouterr().err
    assert complaint in err
    assert len(err.splitlines()) == 1


def edit(path: Path, pattern: str, new: str) -> None:
    text = path.read_text()
    changed = re.sub(pattern, new, text)
    assert changed != text
    path.write_text(changed)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
