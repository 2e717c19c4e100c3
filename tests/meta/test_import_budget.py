"""What one prediction of an exported file may load, and the memory that it may take."""

import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

# Large packages that have no part in it, and rooms that hold no runtime.
UNWANTED = (
    "torch",
    "matplotlib",
    "sklearn",
    "onnx",
    "pandas",
    "scipy",
    "safetensors",
    "webdataset",
    "tyro",
    "tqdm",
)
ROOMS = (
    "training",
    "model",
    "functional",
    "checkpoint",
    "exporting",
    "quantization",
    "benchmarking",
    "ranks",
)
MEMORY_RATIO = 1.2

OURS = """
import sys
from mobileone.cli.main import main
code = main(["predict", sys.argv[1], sys.argv[2], "--threads", "1", "--json"])
"""
PLAIN = """
import sys
import numpy as np
import onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pixels = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((224, 224)), np.float32)
session.run(None, {"images": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
"""
PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1], file=sys.stderr)
"""


@pytest.fixture
def files(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model = create_model("mobileone_s0", form="inference", input_spec=InputSpec()).eval()
    PIL.Image.fromarray(np.zeros((227, 227, 3), np.uint8)).save(tmp_path / "photo.jpg")
    return export(model, tmp_path / "net.onnx", format="onnx").path, tmp_path / "photo.jpg"


def ran(code, files):
    command = [sys.executable, "-c", code, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


@pytest.mark.slow
def test_a_prediction_loads_nothing_that_it_does_not_need(files):
    loaded = ran(OURS + "print(*sys.modules, file=sys.stderr)", files)
    assert "onnxruntime" in loaded
    assert [name for name in UNWANTED if name in loaded] == []
    assert [room for room in ROOMS if any(name.startswith(f"mobileone.{room}") for name in loaded)] == []
    assert [name for name in loaded if name.startswith("mobileone.cli.") and "train" in name] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_a_prediction_takes_little_more_memory_than_a_loop_by_hand(files):
    ours, plain = (int(ran(code + PEAK, files)[-1]) for code in (OURS, PLAIN))
    assert ours <= MEMORY_RATIO * plain
