"""Every format: written, loaded by its own runtime, the same answer; what is not installed skips."""

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.export_options import ExportOptions
from mobileone.backends.table import BACKENDS, writing
from mobileone.backends.writer import find_writer
from mobileone.errors import ArtifactError, ConfigError
from mobileone.exporting.export import export
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.predictor import Predictor
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.model.create import create_model

RUNNING = [kind for kind in BACKENDS.values() if kind.executes and "fp32" in kind.writes]


@pytest.fixture
def network(tiny):
    model = create_model(tiny, num_classes=7, form="inference").eval()
    # A rectangle, with odd sizes further down: 40, 20, 10, 5, 3, 2, and 56, 28, 14, 7, 4, 2.
    model.set_input_size((40, 56))
    return model


def takes_batches(kind):
    try:
        find_writer(kind.name).check(ExportOptions(batch=None))
    except ConfigError:
        return False
    return True


def assert_close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("kind", RUNNING, ids=lambda kind: kind.name)
def test_every_runtime_sees_the_same(needs_backend, network, tmp_path, kind):
    """From camera bytes to logits for any number of pictures, and from a picture of any size to classes."""
    needs_backend(kind.name)
    done = export(
        network,
        tmp_path / f"net{kind.suffix}",
        format=kind.name,
        raw_input=True,
        dynamic_batch=takes_batches(kind),
    )
    assert done.manifest.parity.max_rel < 1e-4
    artifact = Artifact(done.path, threads=1)
    assert artifact.session.precision == "fp32"
    pixels = seeded_pictures(network.input_spec, number=5, seed=1)
    expected = TorchClassifier(network).logits(pixels)
    assert_close(artifact.logits(pixels), expected)
    assert_close(artifact.logits(pixels[:1]), expected[:1])

    photo = torch.nn.functional.interpolate(pixels[1:2].float(), size=(90, 70)).byte()[0]
    wanted, seen = Predictor(network)(photo, topk=7), Predictor(artifact)(photo, topk=7)
    assert [score.index for score in seen.scores] == [score.index for score in wanted.scores]
    probabilities = [[score.probability for score in each.scores] for each in (seen, wanted)]
    np.testing.assert_allclose(*probabilities, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNNING, ids=lambda kind: kind.name)
def test_normalised_input_and_a_fixed_batch(needs_backend, network, tmp_path, kind):
    needs_backend(kind.name)
    batch_size = 2 if takes_batches(kind) else 1
    done = export(network, tmp_path / f"net{kind.suffix}", format=kind.name, batch_size=batch_size)
    pixels = seeded_pictures(network.input_spec, number=3, seed=1)
    assert_close(Artifact(done.path, threads=1).logits(pixels), TorchClassifier(network).logits(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in RUNNING if "fp16" in k.writes], ids=lambda kind: kind.name)
def test_half_precision_halves_the_weights(needs_backend, tmp_path, kind):
    needs_backend(kind.name)
    network = create_model("mobileone_s0", num_classes=10, form="inference").eval()
    done = export(network, tmp_path / f"half{kind.suffix}", format=kind.name, half=True, input_size=64)
    assert done.manifest.precision == "fp16"
    weights = 4 * sum(p.numel() for p in network.parameters())
    assert done.manifest.size_bytes == pytest.approx(weights / 2, rel=0.2)


@pytest.mark.parametrize("name", writing("fp32"))
def test_halves_are_refused_before_any_work_where_the_table_has_none(needs_backend, name):
    needs_backend(name)
    half = ExportOptions(half=True)
    if "fp16" in BACKENDS[name].writes:
        find_writer(name).check(half)
    else:
        with pytest.raises(ConfigError, match="half"):
            find_writer(name).check(half)


def test_core_ml_is_written_and_says_that_nobody_ran_it(needs_backend, network, tmp_path):
    kind = BACKENDS["coreml"]
    needs_backend(kind.name)
    done = export(network, tmp_path / "net.mlpackage", format="coreml", raw_input=True)
    assert done.manifest.parity is None
    assert "not compared with PyTorch" in done.manifest.note
    assert all(record.name.startswith("net.mlpackage/") for record in done.manifest.files)
    with pytest.raises(ArtifactError, match="runs in Core ML only"):
        Artifact(done.path)
    import coremltools as ct

    spec = ct.models.utils.load_spec(str(done.path))
    image = spec.description.input[0].type.imageType
    assert (image.width, image.height) == (56, 40)
    assert [output.name for output in spec.description.output] == ["logits"]
