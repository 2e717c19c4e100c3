"""What is benchmarked, and under which title."""

import pytest

from mobileone.benchmarking.subject import read_subjects
from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError, MobileOneError
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


def test_a_network_is_fused_and_its_shapes_are_known(tiny, tmp_path):
    trained = create_model(tiny, num_classes=3, input_spec=InputSpec(size=32)).eval()
    path = save_model(trained, tmp_path / "m.pt")
    (subject,) = read_subjects([path])
    assert (subject.source, subject.network, subject.artifact) == (str(path), "tiny", None)
    assert subject.model.form == "inference"
    assert (subject.shapes.variant, subject.shapes.input_size, subject.shapes.num_classes) == (tiny, 32, 3)
    assert subject.num_classes == 3


def test_two_networks_of_one_variant_are_told_apart(tiny, tmp_path, model):
    other = save_model(create_model(tiny, num_classes=2, form="inference").eval(), tmp_path / "other.pt")
    assert [each.network for each in read_subjects([model, other, model])] == [
        "tiny",
        f"tiny ({other})",
        "tiny",
    ]


def test_an_artifact_carries_the_title_of_its_network_wherever_it_stands(model, tmp_path):
    path = tmp_path / "mine.pt2"
    export(model, path, format="torch")
    network, artifact = read_subjects([path, model])
    assert (network.network, artifact.network) == ("tiny", "tiny")
    assert (artifact.artifact, artifact.model) == (path, None)
    assert artifact.manifest.format == "torch"
    assert artifact.shapes == network.shapes
    (alone,) = read_subjects([path])
    assert alone.shapes is None, "nobody knows a variant of that name"


def test_an_artifact_alone_has_shapes_with_its_networks_dilation(tmp_path):
    model = create_model("mobileone_s0", num_classes=3, form="inference", output_stride=16).eval()
    (alone,) = read_subjects([export(model, tmp_path / "net.pt2", format="torch", input_size=64).path])
    assert (alone.shapes.output_stride, alone.shapes.input_size) == (16, 64)


def test_what_cannot_be_benchmarked(tmp_path):
    with pytest.raises(ConfigError, match="nothing to benchmark"):
        read_subjects([])
    with pytest.raises(MobileOneError, match=r"nowhere\.onnx"):
        read_subjects([tmp_path / "nowhere.onnx"])


def test_networks_without_classifier_are_refused(tiny, tmp_path):
    backbone = create_model(tiny, num_classes=0, input_spec=InputSpec(size=32)).eval()
    done = export(backbone, tmp_path / "net.pt2", format="torch")
    for source, name in ((backbone, "the network"), (done.path, "net.pt2")):
        with pytest.raises(ConfigError, match=rf"{name} has no classifier \(num_classes=0\); bench compares"):
            read_subjects([source])


def test_networks_take_another_size_and_artifacts_keep_theirs(tiny, tmp_path):
    model = create_model(tiny, num_classes=3, form="inference").eval()
    (subject,) = read_subjects([model], input_size=(64, 48))
    assert subject.input_spec.size == subject.shapes.input_size == (64, 48)
    with pytest.raises(ConfigError, match="exported files are for one size"):
        read_subjects([tmp_path / "net.onnx"], input_size=64)


def test_class_names_can_be_given(model, tmp_path):
    export(model, tmp_path / "mine.pt2", format="torch")
    both = [model, tmp_path / "mine.pt2"]
    number = model.num_classes
    names = tuple(f"class {index}" for index in range(number))
    assert [each.class_names for each in read_subjects(both, class_names=names)] == [names, names]
    with pytest.raises(ConfigError, match=f"1 class names for a model of {number} classes"):
        read_subjects(both, class_names=["one"])
