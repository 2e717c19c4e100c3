"""Runs a line of docs/results.md again, and compares: `scripts/reproduce NAME`.

A line is a row of its table: a name, a command, the best top-1, how far another run may be from that.
DATA in the command is what `--data` says, or the set that the name begins with, in ../shared/data.
"""

from __future__ import annotations

import argparse
import csv
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results.md"
SHARED = RESULTS.parents[1] / ".." / "shared" / "data"
SETS = {"clothing": "clothing_176_q80.zip", "imagenette": "imagenette_128_q70.zip"}
WEIGHTS = SHARED / "apple_s0" / "mobileone_s0.pth.tar"
"""Of `mobileone_s0.apple_in1k`, where they lie on this machine already."""

ROW = re.compile(r"\| `([\w-]+)` \| `(mobileone train [^`]+)` \| ([\d.]+) ± ([\d.]+) \|")


@dataclass(frozen=True)
class Line:
    """A run whose result is stated.

    Attributes:
        name: of the run.
        command: after `mobileone`, with DATA in it.
        acc1: best top-1, percent.
        within: points that another run of it may be away.
    """

    name: str
    command: tuple[str, ...]
    acc1: float
    within: float

    def arguments(self, data: str, *, init: str | None, run_dir: Path) -> list[str]:
        """The command of this machine."""
        words = [data if word == "DATA" else word for word in self.command]
        if init is not None:
            words[words.index("--init") + 1] = init
        return [*words, "--run-dir", str(run_dir)]


def stated(text: str) -> dict[str, Line]:
    """Every line of the page, by name."""
    lines = {}
    for name, command, acc1, within in ROW.findall(text):
        words = tuple(shlex.split(command)[1:])
        lines[name] = Line(name=name, command=words, acc1=float(acc1), within=float(within))
    return lines


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder with train/ of an archive, unpacked into `folder` unless it is there already."""
    place = folder / archive.stem
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as half, zipfile.ZipFile(archive) as file:
            file.extractall(half)
            Path(half).rename(place)
            Path(half).mkdir()  # for the context to remove
    return next(place.glob("**/train")).parent


def best_acc1(run_dir: Path) -> float:
    """Of a finished run, percent."""
    with (run_dir / "metrics.csv").open() as file:
        return max(float(row["acc@1"]) for row in csv.DictReader(file) if row["acc@1"])


def main(arguments: list[str] | None = None) -> int:
    """Run a line; 0 if it came out as stated, 1 if not, 2 if it cannot be run."""
    lines = stated(RESULTS.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        prog="scripts/reproduce", description="Run a line of docs/results.md again."
    )
    parser.add_argument("name", choices=sorted(lines), help="of the line")
    parser.add_argument("--data", help="folder with train/ and val/; default: from ../shared/data")
    parser.add_argument("--init", help="weights to start from, instead of those of the command")
    parser.add_argument("--run-dir", type=Path, help="default: runs/NAME")
    given = parser.parse_args(arguments)
    line = lines[given.name]
    run_dir = given.run_dir or Path("runs") / line.name
    archive = SHARED / SETS[line.name.partition("-")[0]]
    if given.data is None and not archive.exists():
        parser.error(f"{archive.name} is not in ../shared/data; say where the images are with --data DIR")
    init = given.init
    if init is None and "mobileone_s0.apple_in1k" in line.command and WEIGHTS.exists():
        init = str(WEIGHTS)
    data = given.data or str(unpacked(archive, Path("runs") / "data"))
    command = line.arguments(data, init=init, run_dir=run_dir)
    print("mobileone", shlex.join(command), file=sys.stderr)
    done = subprocess.run([sys.executable, "-m", "mobileone", *command], check=False)
    if done.returncode:
        return done.returncode
    got = best_acc1(run_dir)
    as_stated = abs(got - line.acc1) <= line.within
    print(f"{line.name}: best top-1 {got:.2f} %, stated {line.acc1:.2f} ± {line.within:g}", end="")
    print("" if as_stated else ": not as stated")
    return 0 if as_stated else 1


if __name__ == "__main__":
    sys.exit(main())
