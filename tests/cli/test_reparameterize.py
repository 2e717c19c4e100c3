"""`mobileone reparameterize`."""

import json

import torch

from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


def test_reparameterize_verifies_and_writes(run, model_file, tmp_path):
    target = tmp_path / "fused.safetensors"
    code, out, _ = run("reparameterize", model_file, "-o", target)
    assert code == 0
    assert "same function" in out
    fused, model = load_model(target), load_model(model_file)
    assert (fused.form, fused.class_names, fused.input_spec.size) == ("inference", ("cat", "dog"), 32)
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(fused(x), model(x), atol=1e-5)
    code, _, err = run("reparameterize", target, "-o", tmp_path / "again.safetensors")
    assert code == 1
    assert "in inference form already" in err
    assert not (tmp_path / "again.safetensors").exists()


def test_what_the_file_says_goes_along(run, tiny, tmp_path):
    model = create_model(tiny, num_classes=2, input_spec=InputSpec(size=32)).eval()
    source = save_model(model, tmp_path / "m.pt", extra={"epoch": 7})
    code, out, _ = run("reparameterize", source, "-o", tmp_path / "f.safetensors", "--json")
    assert code == 0
    assert json.loads(out)["output"] == str(tmp_path / "f.safetensors")
    assert describe(tmp_path / "f.safetensors").metadata == {"epoch": 7}


def test_nothing_is_overwritten_without_force(run, model_file, tmp_path):
    target = tmp_path / "mine.pth"
    target.write_text("precious")
    code, _, err = run("reparameterize", model_file, "-o", target)
    assert code == 1
    assert "exists already; pass --force" in err
    assert target.read_text() == "precious"
