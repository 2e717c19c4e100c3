"""Networks and artifacts become candidates."""

from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.manifest import manifest_path
from mobileone.backends.table import BACKENDS
from mobileone.benchmarking import candidate_builder
from mobileone.benchmarking.bench_images import InputFiles
from mobileone.benchmarking.candidate_builder import CandidateBuilder, CandidateGrid, choose_backends
from mobileone.benchmarking.subject import read_subjects
from mobileone.errors import ConfigError, MissingExtraError
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


@pytest.fixture
def build(tmp_path):
    """Candidates of some models, as LiteRT files."""

    pytest.importorskip("ai_edge_litert", reason="needs mobileone[litert]")

    def apply(*models, quantize=None, **axes):
        grid = CandidateGrid(
            **{
                "backends": [BACKENDS["litert"]],
                "precisions": ["fp32"],
                "threads": [1, 2],
                "batch_sizes": [1],
            }
            | {"baselines": ()}
            | axes
        )
        subjects = read_subjects(models)
        workspace = tmp_path / "work"
        workspace.mkdir(exist_ok=True)
        files = InputFiles(workspace, seed=0)
        pixels = {each.input_spec: np.zeros((3, 32, 32, 3), np.uint8) for each in subjects}
        builder = CandidateBuilder(grid, workspace, files, pixels=pixels, quantize=quantize, progress=False)
        return builder.candidates(subjects)

    return apply


def test_every_combination_of_a_network(build, model, tiny):
    found = build(model, batch_sizes=[1, 3], baselines=["PyTorch fused", "PyTorch torch.compile"])
    assert [(each.backend, each.batch_size, each.threads) for each in found] == [
        (backend, batch, threads)
        for backend in ("PyTorch fused", "PyTorch torch.compile", "litert")
        for batch in (1, 3)
        for threads in (1, 2)
    ]
    assert [each.is_baseline for each in found] == [True] * 8 + [False] * 4
    assert len({each.environment.get("TORCHINDUCTOR_CACHE_DIR") for each in found}) == 5, "each compiles anew"
    assert np.load(found[0].inputs).shape == (1, 3, 32, 32)
    assert np.load(found[-1].inputs).shape == (3, 32, 32, 3)
    assert np.load(found[-1].images).shape == (3, 32, 32, 3)
    assert {each.network for each in found} == {"tiny"}
    assert found[-1].shapes.variant == tiny


def test_an_artifact_joins_its_network_and_another_network_does_not(build, model, tiny, tmp_path):
    path = tmp_path / "mine.tflite"
    export(model, path, format="litert", raw_input=True)
    other = create_model(tiny, num_classes=2, form="inference", input_spec=InputSpec(size=32)).eval()
    found = build(path, model, other, threads=[1])
    assert [(each.network, each.artifact) for each in found] == [
        ("tiny", None),
        ("tiny (2)", None),
        ("tiny", path),
    ]
    assert np.load(found[2].inputs).dtype == np.uint8
    assert found[2].size_bytes == path.stat().st_size


def test_the_seam_for_int8(build, model):
    made = []

    def quantize(network, path, backend, batch_size):
        made.append((backend, batch_size, path.suffix))
        done = export(network, path, format=backend, batch_size=batch_size)
        manifest = replace(done.manifest, precision="int8")
        manifest.write(manifest_path(path))
        return path

    found = build(model, precisions=["fp32", "int8"], quantize=quantize)
    assert made == [("litert", 1, ".tflite")]
    assert [(each.precision, each.refusal) for each in found] == [("fp32", None)] * 2 + [("int8", None)] * 2
    assert len({each.options["artifact"] for each in found}) == 2


def test_what_cannot_be_made_is_a_candidate_with_a_reason(build, model):
    found = build(
        model, backends=[BACKENDS["ncnn"], BACKENDS["litert"]], precisions=["bf16"], batch_sizes=[2]
    )
    assert "ncnn takes one image at a time" in found[0].refusal
    assert [each.refusal for each in found[1:]] == ["LiteRT executes fp32, int8 here"]


def test_narrow_artifacts_run_as_they_are(build, model, tmp_path):
    path = tmp_path / "half.pt2"
    export(model, path, format="torch", half=True)
    assert [each.precision for each in build(path, threads=[1], precisions=["fp32", "bf16"])] == ["fp16"]
    export(model, tmp_path / "full.pt2", format="torch")
    wide = build(tmp_path / "full.pt2", threads=[1], precisions=["fp32", "bf16", "int8"])
    assert [each.precision for each in wide] == ["fp32"]


def test_what_is_not_installed_is_left_out_and_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    chosen, notes = choose_backends(("all",))
    assert "openvino" not in [each.name for each in chosen]
    assert "coreml" not in [each.name for each in chosen]
    assert any("mobileone[openvino]" in note for note in notes)


def test_on_a_gpu_onnx_files_go_two_ways_and_pytorch_every_precision(build, model):
    pytest.importorskip("onnx", reason="needs mobileone[onnx]")
    axes = {
        "precisions": ["fp32", "fp16", "bf16", "int8"],
        "threads": [1],
        "baselines": ["PyTorch CUDA graph"],
    }
    found = build(model, backends=[BACKENDS["onnx"]], device="cuda:1", **axes)
    ran = [(each.backend, each.device, each.precision) for each in found if each.refusal is None]
    assert ran == [
        *(("PyTorch CUDA graph", "cuda:1", precision) for precision in ("fp32", "fp16", "bf16")),
        ("onnx", "cuda:1", "fp32"),
        ("onnx", "tensorrt:1", "fp32"),
        ("onnx", "tensorrt:1", "fp16"),
    ]
    assert [each.options["device"] for each in found if each.refusal is None] == [
        where for _, where, _ in ran
    ]
    assert (
        len({each.options["artifact"] for each in found if each.backend == "onnx" and not each.refusal}) == 1
    )
    refused = {(each.device, each.precision): each.refusal for each in found if each.refusal}
    assert refused["cuda:1", "fp16"] == "ONNX Runtime executes fp32 on cuda:1"
    assert refused["tensorrt:1", "int8"] == "ONNX Runtime executes fp32, fp16 on tensorrt:1"


def test_files_that_run_on_the_processor_alone_are_refused_on_a_gpu(build, model, tmp_path):
    path = tmp_path / "mine.tflite"
    export(model, path, format="litert")
    (found,) = build(path, threads=[1], device="cuda:0")
    assert (found.device, found.refusal) == ("cuda:0", "LiteRT does not run fp32 on cuda:0")


def test_backends_of_the_processor_alone_are_left_out_on_a_gpu_and_said(monkeypatch):
    monkeypatch.setattr(candidate_builder, "check_installed", lambda name: None)
    chosen, notes = choose_backends(("all",), on_gpu=True)
    assert [each.name for each in chosen] == ["onnx"]
    assert notes == ["left out, for they run on the CPU: openvino, litert, executorch, c, ncnn, torch"]
    with pytest.raises(ConfigError, match="openvino, litert run on the CPU; on a GPU there is onnx"):
        choose_backends(("openvino", "onnx", "litert"), on_gpu=True)


def test_on_a_gpu_pytorch_is_enough(monkeypatch):
    def missing(name):
        raise MissingExtraError(f"{name} needs what is not here")

    monkeypatch.setattr(candidate_builder, "check_installed", missing)
    chosen, notes = choose_backends(("all",), on_gpu=True)
    assert chosen == []
    assert "left out: onnx needs what is not here" in notes
