"""Export refuses what it cannot prove, and then leaves nothing behind."""

import json

import pytest
import torch

import mobileone.backends.torch.writer as torch_exporter
from mobileone.backends.manifest import manifest_path, read_manifest
from mobileone.decision import Decision
from mobileone.errors import ConfigError, ExportError, MissingExtraError, MobileOneError, VerificationError
from mobileone.exporting.export import export
from mobileone.exporting.parity import TOLERANCES
from mobileone.reparam import verify as verification
from mobileone.reparam.expand import expand
from mobileone.reparam.fuse import reparameterize


def export_torch(model, path, **options):
    return export(model, path, format="torch", **options)


def test_the_manifest_tells_all_that_a_user_needs(network, tmp_path):
    network.class_names = tuple("abcdefg")
    done = export_torch(network, tmp_path / "net.pt2", raw_input=True, source="runs/mine")
    manifest = read_manifest(done.path)
    assert manifest == done.manifest
    assert manifest.tensor.shape(1) == (1, 32, 32, 3)
    assert (manifest.tensor.dtype, manifest.tensor.values) == ("uint8", "pixels")
    assert manifest.class_names == tuple("abcdefg")
    assert manifest.input_spec == network.input_spec
    assert (manifest.source, manifest.variant, manifest.precision) == ("runs/mine", "tiny", "fp32")
    assert manifest.options == {"raw_input": True, "batch": 1, "half": False}
    assert {"mobileone", "torch"} <= manifest.versions.keys()
    assert manifest.parity.max_rel <= manifest.parity.tolerance == TOLERANCES["fp32"]
    assert [record.name for record in manifest.files] == ["net.pt2"]
    assert json.loads(manifest_path(done.path).read_text())["num_classes"] == 7


def test_a_network_with_branches_is_fused_and_stays_as_it_was(network, tmp_path):
    network = expand(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_torch(network, tmp_path / "net.pt2", half=True, raw_input=True, input_size=64)
    assert network.form == "train"
    assert network.input_spec.size == 32
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_network_that_computes_something_else_is_not_written(network, tmp_path, monkeypatch):
    honest = torch_exporter.write

    def dishonest(model, path, options):
        with torch.no_grad():
            model.head.fc.bias[0] += 1
        return honest(model, path, options)

    monkeypatch.setattr(torch_exporter, "write", dishonest)
    with pytest.raises(ExportError, match=r"does not compute what PyTorch computes.*tolerance"):
        export_torch(network, tmp_path / "out" / "net.pt2")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_wrapped_networks_are_exported_without_the_wrapper(network, tmp_path):
    for number, wrap in enumerate(
        (torch.nn.DataParallel, torch.compile, torch.optim.swa_utils.AveragedModel)
    ):
        done = export_torch(wrap(network), tmp_path / f"{number}/")
        assert done.path.name == "tiny.pt2"
    with pytest.raises(ConfigError, match=r"got Sequential; it holds one, give its \.0$"):
        export_torch(torch.nn.Sequential(network), tmp_path / "net.pt2")


def test_the_fused_network_is_proved_against_the_one_given(network, tmp_path, monkeypatch):
    """Not against itself: fusing that goes wrong is found before anything is written."""

    def wrong(model):
        fused = reparameterize(model)
        fused.stages[0][0].act = torch.nn.Identity()
        return fused

    monkeypatch.setattr(verification, "reparameterize", wrong)
    with pytest.raises(VerificationError, match="fusing this tiny changes what it computes"):
        export_torch(expand(network), tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_ignores_the_picture_proves_nothing(network, tmp_path):
    with torch.no_grad():
        network.head.fc.weight.zero_()
    with pytest.raises(ExportError, match=r"proves nothing.*train the network first"):
        export_torch(network, tmp_path / "net.pt2", input_size=64)


def test_a_converter_that_fails_leaves_the_old_file(network, tmp_path, monkeypatch):
    done = export_torch(network, tmp_path / "net.pt2")
    before = done.path.read_bytes()

    def broken(model, path, options):
        path.write_bytes(b"half")
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(torch_exporter, "write", broken)
    with pytest.raises(ExportError, match=r"torch cannot be written: no such operator$"):
        export_torch(network, tmp_path / "net.pt2", force=True)
    assert done.path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pt2", "net.pt2.json"]
    read_manifest(done.path)


def test_nothing_is_overwritten_by_accident(network, tmp_path):
    export_torch(network, tmp_path / "net.pt2")
    with pytest.raises(ConfigError, match="exists already; pass force=True"):
        export_torch(network, tmp_path / "net.pt2")
    export_torch(network, tmp_path / "net.pt2", force=True, raw_input=True)
    assert read_manifest(tmp_path / "net.pt2").options["raw_input"]


def test_a_folder_gets_a_file_named_after_the_network(network, tmp_path):
    assert export_torch(network, tmp_path).path == tmp_path / "tiny.pt2"
    assert export_torch(network, tmp_path / "new").path == tmp_path / "new" / "tiny.pt2"


def test_a_target_that_cannot_be_written_is_one_line(network, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MobileOneError, match="cannot write"):
        export_torch(network, tmp_path / "file" / "net.pt2")


def test_weights_whose_logits_overflow_are_refused(network, tmp_path):
    with torch.no_grad():
        network.head.fc.weight.fill_(3e38)
    with pytest.raises(ExportError, match="NaN or infinite logits in PyTorch already"):
        export_torch(network, tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("net.onnx", {}, r"a file of torch is called \*\.pt2"),
        ("net.pt2", {"format": "tensorrt"}, "format must be one of onnx"),
        ("net.pt2", {"batch_size": 0}, "batch size of at least 1"),
        ("net.pt2", {"batch_size": 4, "dynamic_batch": True}, "or a dynamic batch"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(network, tmp_path, name, options, wanted):
    with pytest.raises(ConfigError, match=wanted):
        export(network, tmp_path / name, **{"format": "torch"} | options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_its_extra(network, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(
        MissingExtraError, match=r"openvino needs openvino.*pip install 'mobileone\[openvino\]'"
    ):
        export(network, tmp_path / "net.xml", format="openvino")


def test_a_decision_goes_with_the_network(network, tmp_path):
    network.decision = Decision(thresholds=(0.5,) * 7)
    assert read_manifest(export_torch(network, tmp_path / "net.pt2").path).decision == network.decision
    other = export_torch(network, tmp_path / "other.pt2", input_size=64)
    assert other.manifest.decision is None
