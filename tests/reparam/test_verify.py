import json

import pytest
import torch

from mobileone.errors import VerificationError
from mobileone.model.create import create_model
from mobileone.reparam import verify as verification
from mobileone.reparam.fuse import reparameterize
from mobileone.reparam.verify import reparameterize_verified, verify


def test_report_names_the_first_layer_that_departs(tiny):
    model = create_model(tiny).eval()
    fused = reparameterize(model)
    with torch.no_grad():
        fused.stages[1][0].reparam_conv.bias += 1.0
    report = verify(model, fused, torch.randn(1, 3, 64, 64))
    assert not report.ok
    assert report.first_departure == "stages.1.0"
    with pytest.raises(VerificationError, match=r"first departs at stages\.1\.0"):
        report.require()


def test_report_lists_every_unit_in_order(tiny):
    model = create_model(tiny).eval()
    report = verify(model, reparameterize(model), torch.randn(1, 3, 64, 64))
    assert [layer.name for layer in report.layers][:3] == ["stem", "stages.0.0", "stages.0.1"]
    assert (report.layers[-1].name, report.first_departure, report.ok) == ("output", None, True)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_differences_are_what_they_say():
    class Constant(torch.nn.Module):
        def __init__(self, *values):
            super().__init__()
            self.values = torch.tensor(values)

        def forward(self, x):
            return self.values

    report = verify(Constant(1.0, -4.0).eval(), Constant(1.5, -4.0).eval(), None)
    assert (report.max_abs, report.max_rel) == (0.5, 0.125)
    nan = verify(Constant(1.0, 2.0).eval(), Constant(1.0, float("nan")).eval(), None)
    assert not nan.ok
    with pytest.raises(VerificationError, match="shapes differ"):
        verify(Constant(1.0).eval(), Constant(1.0, 2.0).eval(), None)


def test_training_mode_is_refused(tiny):
    model = create_model(tiny)
    with pytest.raises(VerificationError, match="model is in training mode"):
        verify(model, model, torch.zeros(1, 3, 32, 32))


def test_fusing_is_proved_against_what_was_given(tiny, randomize, monkeypatch):
    model = randomize(create_model(tiny, num_classes=3))
    model.set_input_size(32)
    fused = reparameterize_verified(model)
    assert (fused.form, model.form) == ("inference", "train")
    verify(model, fused, torch.randn(2, 3, 40, 40)).require()

    def wrong(model):
        fused = reparameterize(model)
        fused.stages[1][0].act = torch.nn.Identity()
        return fused

    monkeypatch.setattr(verification, "reparameterize", wrong)
    with pytest.raises(VerificationError, match=r"fusing this tiny changes .* first departs at stages\.1\.0"):
        reparameterize_verified(model)


def test_wrappers_are_taken_off(tiny):
    model = create_model(tiny).eval()
    wrapped = torch.nn.DataParallel(model)
    report = verify(wrapped, reparameterize(wrapped), torch.randn(1, 3, 32, 32)).require()
    assert report.layers[0].name == "stem"


def test_no_images_prove_nothing(tiny):
    model, other = create_model(tiny).eval(), create_model(tiny, form="inference").eval()
    with pytest.raises(VerificationError, match="output is empty; give x one image or more"):
        verify(model, other, torch.empty(0, 3, 64, 64))
