"""Another network has another hash."""

import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.parts.model_hash import model_hash


def test_of_networks(predictor, other_predictor):
    first, second = predictor.classifier, other_predictor.classifier
    assert model_hash(first) == model_hash(predictor.classifier)
    assert model_hash(first) != model_hash(second)
    before = model_hash(first)
    with torch.no_grad():
        next(first.model.parameters()).view(-1)[0] += 1e-6
    assert model_hash(first) != before


@pytest.mark.slow
def test_of_exported_files(predictor, other_predictor, needs_backend, tmp_path):
    needs_backend("onnx")
    paths = [
        export(each.classifier.model, tmp_path / f"{n}.onnx", format="onnx").path
        for n, each in enumerate((predictor, other_predictor))
    ]
    one, two, again = (model_hash(Artifact(path)) for path in (*paths, paths[0]))
    assert (one == again, one == two) == (True, False)


def test_of_nothing_known(predictor):
    class Own:
        input_spec, num_classes, class_names = predictor.input_spec, 2, None
        device = torch.device("cpu")

        def logits(self, pixels): ...

    with pytest.raises(ConfigError, match="a Own cannot be told from another one"):
        model_hash(Own())
