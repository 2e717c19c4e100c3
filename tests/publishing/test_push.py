"""A model pushed to a hub in this process, and loaded back from it."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from mobileone.checkpoint.load import load_model
from mobileone.errors import CheckpointError, ConfigError, MobileOneError, PublishError
from mobileone.exporting.export import export
from mobileone.publishing.push import push
from mobileone.quantization.quantize import quantize


def logits(model, seed=0):
    return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))


def test_a_run_comes_back_from_the_hub_with_the_same_logits(at_local_hub, run_dir, classifier):
    done = push(run_dir, "hf:me/pets", license="mit")
    files = at_local_hub.files("me/pets")
    assert set(files) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert done.files == {name: len(files[name]) for name in done.files}
    assert (done.url, done.commit) == (
        f"{at_local_hub.url}/me/pets",
        at_local_hub.repos["me/pets"].branches["main"],
    )
    assert len(at_local_hub.repos["me/pets"].log) == 2  # the hub's own, and everything in one
    back = load_model("hf:me/pets")
    assert torch.equal(logits(back), logits(classifier))
    assert (back.class_names, back.decision) == (classifier.class_names, classifier.decision)
    card = files["README.md"].decode()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["license"] == "mit"
    (result,) = metadata["model-index"][0]["results"]
    accuracy = next(each for each in result["metrics"] if each["type"] == "accuracy")
    assert accuracy["value"] == 91.25
    protocol = "90 images, 32 px, crop 0.875, bilinear, float32, averaged weights, fused, after epoch 2"
    assert accuracy["args"] == {"protocol": protocol}
    assert "private-folder" not in card


def test_exported_files_in_the_run_go_along_with_their_manifests(
    at_local_hub, run_dir, needs_backend, small_pictures, tmp_path
):
    needs_backend("onnx")
    model = load_model(run_dir, form="inference")
    export(model, run_dir / "pets.onnx", format="onnx", source=str(run_dir))
    quantize(model, tmp_path / "pets.c", images=small_pictures, format="c", source=str(run_dir))
    push(run_dir, "hf:me/pets", license="mit", files=[tmp_path / "pets.c", run_dir / "pets.onnx"])
    files = at_local_hub.files("me/pets")
    assert {"pets.onnx", "pets.onnx.json", "pets.c", "pets.c.json"} <= set(files)
    assert files["pets.onnx"] == (run_dir / "pets.onnx").read_bytes()
    manifest = json.loads(files["pets.onnx.json"])
    assert manifest["source"] == "hf:me/pets"
    assert str(tmp_path) not in files["pets.onnx.json"].decode()
    assert "`pets.onnx`" in files["README.md"].decode()


def test_an_export_of_other_weights_keeps_everything_here(at_local_hub, run_dir, network, needs_backend):
    needs_backend("onnx")
    export(network, run_dir / "old.onnx", format="onnx")
    with pytest.raises(PublishError, match=r"old.onnx was exported from other weights"):
        push(run_dir, "hf:me/pets", license="mit")
    (run_dir / "old.onnx").write_bytes(b"damaged")
    with pytest.raises(MobileOneError, match=r"SHA-256 differs"):
        push(run_dir, "hf:me/pets", license="mit")
    assert at_local_hub.requests == []


@pytest.mark.parametrize(
    ("to", "options", "said"),
    [
        ("me/pets", {}, "hf:owner/name, got me/pets"),
        ("hf:pets", {}, "hf:owner/name"),
        ("hf:me/pets/more", {}, "hf:owner/name"),
        ("hf:me/pets@a", {"revision": "b"}, "names the branch a, and revision is b"),
        ("hf:me/pets", {"license": None}, "nothing tells the licence"),
        ("hf:me/pets", {"license": "my own words"}, "identifier of the hub's"),
    ],
)
def test_what_makes_no_sense_asks_nobody(at_local_hub, run_dir, to, options, said):
    with pytest.raises(MobileOneError, match=said) as caught:
        push(run_dir, to, **{"license": "mit"} | options)
    assert "\n" not in str(caught.value)
    assert at_local_hub.requests == []


def test_fresh_weights_exported_files_and_what_is_no_model(at_local_hub, tmp_path):
    with pytest.raises(PublishError, match="fresh weights"):
        push("mobileone_s0", "hf:me/x", license="mit")
    with pytest.raises(ConfigError, match="push the model it was made from"):
        push(tmp_path / "s0.onnx", "hf:me/x", license="mit")
    with pytest.raises(CheckpointError, match="no model"):
        push(tmp_path / "nothing", "hf:me/x", license="mit")
    assert at_local_hub.requests == []


def test_a_dry_run_writes_the_folder_and_asks_nobody(
    at_local_hub, run_dir, classifier, tmp_path, monkeypatch
):
    monkeypatch.delenv("HF_TOKEN")
    done = push(run_dir, "hf:me/pets", license="mit", form="inference", dry_run=tmp_path / "out")
    assert (done.url, done.commit, done.folder) == (None, None, tmp_path / "out")
    assert {path.name for path in done.folder.iterdir()} == set(done.files)
    assert torch.allclose(logits(load_model(done.folder)), logits(classifier), rtol=1e-4)
    before = (tmp_path / "out" / "README.md").read_bytes()
    with pytest.raises(ConfigError, match="not an empty folder"):
        push(run_dir, "hf:me/pets", license="mit", dry_run=tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]
    assert at_local_hub.requests == []


def test_the_library_as_it_is_shipped_pushes_and_reads(local_hub, run_dir, tmp_path):
    """In a process of its own, which reads the hub's environment as a user's does."""
    script = """
import sys, mobileone
from mobileone.cli.main import main
assert main(["push", sys.argv[1], "hf:me/pets@exp", "--license", "mit", "--private"]) == 0
print(mobileone.load_model("hf:me/pets@exp").class_names)
"""
    env = os.environ | {
        "HF_ENDPOINT": local_hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_writesecret",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "*",
    }
    command = [sys.executable, "-c", script, str(run_dir)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "licence mit; use it as hf:me/pets@exp" in done.stdout
    assert done.stdout.endswith("('c|at', 'dog')\n")
    assert local_hub.repos["me/pets"].private
    assert set(local_hub.repos["me/pets"].branches) == {"main", "exp"}
    assert set(local_hub.files("me/pets")) == {".gitattributes"}
    assert "hf_writesecret" not in done.stdout + done.stderr
