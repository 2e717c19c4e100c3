"""The page's modules: checked by TypeScript where it is, small, and loading nothing from elsewhere."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from mobileone.benchmarking.latency import Latency
from mobileone.decision import Decision

from .conftest import STATIC

MODULES = sorted(STATIC.glob("*.js"))


@pytest.mark.skipif(shutil.which("tsc") is None, reason="no tsc on this machine: npm install -g typescript")
def test_types():
    done = subprocess.run(["tsc", "-p", STATIC.parent / "jsconfig.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_syntax(module):
    command = ["node", "--experimental-default-type=module", "--no-warnings", "--check", module]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@pytest.mark.parametrize(
    "values", [[3.0], [2.0, 1.0], [5.0, 1.0, 9.0], [float(i * i % 37) + 1 for i in range(100)]]
)
def test_the_page_counts_as_the_benchmark_does(values):
    program = f"""
      import {{ summary, histogram }} from {json.dumps((STATIC / "statistics.js").as_uri())};
      const values = {json.dumps(values)};
      console.log(JSON.stringify({{ ...summary(values), ...histogram(values) }}));
    """
    found = printed_by_node(program)
    wanted = Latency((tuple(value / 1e3 for value in values),), 1)
    ours = (wanted.min_ms, wanted.median_ms, wanted.p90_ms)
    assert (found["min"], found["median"], found["p90"]) == pytest.approx(ours)
    assert sum(found["counts"]) == len(values), "none is left out"


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@pytest.mark.parametrize("task", ["singlelabel", "multilabel"])
@pytest.mark.parametrize(
    "decision",
    [
        Decision(temperatures=(0.7,), thresholds=(0.6,)),
        Decision(temperatures=(0.5, 1.0, 2.0), biases=(0.0, 0.5, -0.5), thresholds=(0.2, 0.9, 0.5)),
        Decision(novelty="energy", novelty_limit=1.5),
        Decision(novelty="max_logit", novelty_limit=0.6, thresholds=(0.4,)),
    ],
)
def test_the_page_decides_as_python_does(decision, task):
    logits = np.random.default_rng(0).normal(size=(50, 3))
    program = f"""
      import {{ judge }} from {json.dumps((STATIC / "probabilities.js").as_uri())};
      const network = {{ task: "{task}", classes: null, decision: {json.dumps(decision.to_dict())} }};
      console.log(JSON.stringify({logits.tolist()}.map((row) => judge(row, network, 3))));
    """
    found = printed_by_node(program)
    sure = decision.sure(logits, task=task)
    assert [not each["unsure"] for each in found] == sure.tolist()
    assert (task == "multilabel" and decision.novelty is None) or 0 < sure.sum() < len(sure)
    wanted = decision.probabilities(logits, task=task)
    for row, each in zip(wanted, found, strict=True):
        assert [one["probability"] for one in each["top"]] == pytest.approx(sorted(row, reverse=True))


def printed_by_node(program):
    command = ["node", "--no-warnings", "--experimental-default-type=module", "--input-type=module", "-e"]
    return json.loads(subprocess.run([*command, program], capture_output=True, text=True, check=True).stdout)


def test_every_module_is_small_enough_to_read():
    long = {path.name: n for path in MODULES if (n := len(path.read_text().splitlines())) > 400}
    assert long == {}


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline():
    for path in [*MODULES, STATIC / "index.html", STATIC / "web.css", STATIC / "manifest.webmanifest"]:
        text = re.sub(r"http://www\.w3\.org/2000/svg", "", path.read_text(encoding="utf-8"))
        assert not re.search(
            r"(https?:)?//[a-z0-9-]+\.[a-z]", re.sub(r"^\s*(//|\*|/\*\*).*$", "", text, flags=re.M)
        )
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)


def test_names_go_in_as_text():
    unsafe = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert [path.name for path in MODULES if unsafe.search(path.read_text(encoding="utf-8"))] == []


def test_the_manifest_names_pictures_that_are_there():
    manifest = (STATIC / "manifest.webmanifest").read_text(encoding="utf-8")
    icons = re.findall(r'"src": "([^"]+)"', manifest)
    assert len(icons) == 3
    assert all((STATIC / name).is_file() for name in icons)
