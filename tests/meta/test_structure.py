"""The shape of the package: imports point one way, light commands stay light, public names exist."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mobileone

SOURCE = Path(__file__).resolve().parents[2] / "src" / "mobileone"

# A room may import itself and the rooms before it. What stands together on the first floor knows no stage.
ROOMS = [
    {
        "errors",
        "variants",
        "input_spec",
        "licences",
        "limits",
        "regular_file",
        "outside_text",
        "atomic",
        "cache",
        "c_compiler",
        "distribution",
        "file_hash",
        "imagenet",
        "class_list",
        "decision",
        "precision",
        "heap",
        "processor",
        "task",
        "telemetry",
        "progress_bar",
    },
    {"ranks"},
    {"report"},
    {"functional"},
    {"model"},
    {"reparam"},
    {"images"},
    {"data"},
    {"checkpoint"},
    {"profiling"},
    {"backends"},
    {"inference"},
    {"serving"},
    {"evaluation"},
    {"exporting"},
    {"quantization"},
    {"benchmarking"},
    {"training"},
    {"calibration"},
    {"curation"},
    {"parts"},
    {"web"},
    {"publishing"},
    {"cli"},
    {"__main__"},
]
LEVEL = {package: level for level, room in enumerate(ROOMS) for package in room}


def imported_packages(path: Path) -> set[str]:
    """First-level packages of mobileone that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module] if node.module != "mobileone" else [f"mobileone.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("mobileone.")}
    return found - {"__version__"}


def upward_imports(package: str, imported: set[str]) -> set[str]:
    return {other for other in imported if LEVEL[other] > LEVEL[package]}


def test_imports_point_one_way():
    wrong = {
        str(path.relative_to(SOURCE)): upward
        for path in SOURCE.rglob("*.py")
        if path != SOURCE / "__init__.py"
        and (
            upward := upward_imports(
                path.relative_to(SOURCE).parts[0].removesuffix(".py"), imported_packages(path)
            )
        )
    }
    assert wrong == {}


def test_the_guard_sees_an_upward_import(tmp_path):
    module = tmp_path / "block.py"
    module.write_text(
        "from mobileone.errors import X\ndef f():\n    from mobileone.training.run.fit import fit\n"
    )
    assert upward_imports("model", imported_packages(module)) == {"training"}


def test_every_public_name_is_there_and_listed():
    assert mobileone.__all__ == sorted(set(mobileone.__all__))
    for name in mobileone.__all__:
        value = getattr(mobileone, name)
        assert name.isupper() or value.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mobileone.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import mobileone",
        "from mobileone.cli.main import main; main(['info', 'mobileone_s0'])",
        "from mobileone.cli.main import main; main(['weights'])",
        "import mobileone.training.config.train_config, mobileone.profiling.cost, mobileone.imagenet",
        "import mobileone.parts.predict_parts, mobileone.parts.embed_parts, mobileone.parts.evaluate_parts",
        "import mobileone.parts.merge, mobileone.inference.batch_predictor, mobileone.cli.merge",
        "import mobileone.benchmarking.worker, mobileone.benchmarking.bench_report",
        "import mobileone.backends.session, mobileone.backends.manifest, mobileone.backends.writer",
        "import mobileone.images.any_image, mobileone.images.eval_transform, mobileone.inference.predictor",
        "import mobileone.inference.sheet, mobileone.evaluation.evaluate",
        "import mobileone.backends.onnx.session, mobileone.backends.openvino.session",
        "import mobileone.backends.litert.session, mobileone.backends.ncnn.session",
        "import mobileone.backends.c.session, mobileone.backends.c.library",
    ],
)
def test_what_needs_no_torch_does_not_load_it(code):
    check = f"{code}\nimport sys; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_import_check_sees_torch():
    check = "import mobileone; mobileone.create_model\nimport sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, timeout=60).returncode == 1
