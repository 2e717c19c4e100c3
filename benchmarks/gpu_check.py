"""Claims about the GPU, checked on one card in ten minutes; each check is a process of its own, with a limit.

    python -m benchmarks.gpu_check --out gpu               # all, kept line by line in gpu/gpu_check.jsonl
    python -m benchmarks.gpu_check --only steps,kernels    # some of it
    python -m benchmarks.gpu_check --dry                   # small, on a CPU: whether every line runs

A check prints what it finds as it goes, and all of it is kept as it comes: also from one that fails, hangs
or is cut off; `failed` says what is wrong, an error beyond its bound too. Nothing has to be installed but
torch with Triton and what the package depends on. With a zip of Imagenette somewhere below the current folder
training is on that, else on the digits.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
if importlib.util.find_spec("mobileone") is None:
    # A bare source tree: found from here on, and by the processes that this starts.
    SOURCES = str(Path(__file__).resolve().parents[1] / "src")
    sys.path.insert(0, SOURCES)
    os.environ["PYTHONPATH"] = os.pathsep.join([SOURCES, *filter(None, [os.environ.get("PYTHONPATH")])])

from benchmarks.gpu_measurements import CHECKS, Bench  # noqa: E402

MARK = "RESULT "
RESERVE_S = 10  # of the budget, to write things down
STDERR_KEPT = 2000  # last characters of what a check that ended badly said
DRY_FACTOR = 4  # of a check's limit on a CPU


def run_check(name: str, limit: float, kept: Path, *, dry: bool) -> bool:
    """Run one check in a process of its own; whether it ended well and nothing in it failed."""
    started, failed = time.monotonic(), False
    command = [
        sys.executable,
        "-u",
        "-m",
        "benchmarks.gpu_check",
        "--check",
        name,
        *(["--dry"] if dry else []),
    ]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        timer = threading.Timer(limit, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                failed |= '"failed": ' in line
                keep(kept, line.removeprefix(MARK).strip())
        code = process.wait()
        timer.cancel()
        note: dict[str, Any] = {"check": name, "exit": code, "seconds": round(time.monotonic() - started)}
        if code:
            errors.seek(0)
            note["stderr"] = errors.read()[-STDERR_KEPT:]
    keep(kept, json.dumps(note))
    return not code and not failed


def keep(kept: Path, line: str) -> None:
    print(line[:400], flush=True)
    with open(kept, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry", action="store_true", help="small, on a CPU")
    parser.add_argument("--only", default=",".join(CHECKS), help="checks, with commas")
    parser.add_argument(
        "--budget", type=float, default=580, help="seconds for all, from this program's start"
    )
    parser.add_argument("--out", type=Path, help="folder of results; a temporary one by default")
    parser.add_argument("--check", choices=list(CHECKS), help="this one, here; what the others are run by")
    arguments = parser.parse_args()
    if arguments.check:
        CHECKS[arguments.check][0](Bench(arguments.check, dry=arguments.dry))
        return 0
    wanted = arguments.only.split(",")
    unknown = sorted(set(wanted) - set(CHECKS))
    if unknown:
        parser.error(f"no check is named {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    out = arguments.out or Path(tempfile.mkdtemp(prefix="gpu_check-"))
    out.mkdir(parents=True, exist_ok=True)
    end, well = STARTED + arguments.budget - RESERVE_S, True
    for name, (_, limit) in CHECKS.items():
        if name not in wanted:
            continue
        left = end - time.monotonic()
        if left < RESERVE_S:
            keep(out / "gpu_check.jsonl", json.dumps({"check": name, "left_out": "no time"}))
            well = False
            continue
        seconds = min(limit * (DRY_FACTOR if arguments.dry else 1), left)
        well &= run_check(name, seconds, out / "gpu_check.jsonl", dry=arguments.dry)
    print(f"kept in {out}", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
