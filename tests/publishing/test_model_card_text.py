"""README.md on the hub."""

import pytest
import yaml
from huggingface_hub import ModelCard

from mobileone.checkpoint.store import save_model
from mobileone.model.create import create_model
from mobileone.profiling.cost import network_cost
from mobileone.publishing.push import push


@pytest.fixture
def card(run_dir, tmp_path) -> str:
    done = push(run_dir, "hf:me/pets", license="mit", datasets=["me/pets-photos"], dry_run=tmp_path / "out")
    return (done.folder / "README.md").read_text()


def test_the_hubs_own_reader_takes_it(card):
    data = ModelCard(card).data
    assert (data.license, data.pipeline_tag, data.datasets) == (
        "mit",
        "image-classification",
        ["me/pets-photos"],
    )
    first = data.eval_results[0]
    assert (first.dataset_type, first.metric_type, first.metric_value) == (
        "me/pets-photos",
        "accuracy",
        91.25,
    )


def test_it_says_what_is_known(card):
    for words in (
        "| acc@1 | 91.25 % |",
        "Measured on the validation images of pets: 90 images, 32 px",
        "| temperature | 1.5 |",
        "| ece\\_after | 0.012 |",
        "| epochs | 3 |",
        "| world\\_size | 2 |",
        "- validation: 90 labels in 2 classes",
        "Classes: 2 (c\\|at, dog; all are in config.json)",
        'mobileone.Predictor("hf:me/pets")',
    ):
        assert words in card
    assert "timm" not in card  # which does not know the tiny variant


def test_text_from_outside_stays_text(classifier, tmp_path):
    classifier.class_names = ("<script>", "# title\n---")
    source = save_model(classifier, tmp_path / "odd.safetensors")
    done = push(source, "hf:me/odd", license="mit", dry_run=tmp_path / "out")
    text = (done.folder / "README.md").read_text()
    assert "\\<script\\>, \\# title\\\\x0a---" in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "mit"


def test_what_timm_opens_is_said_to_and_a_backbone_is_no_classifier(tmp_path):
    source = save_model(create_model("mobileone_s0", num_classes=0), tmp_path / "trunk.safetensors")
    done = push(source, "hf:me/trunk", license="mit", dry_run=tmp_path / "out")
    text = (done.folder / "README.md").read_text()
    assert 'timm.create_model("hf-hub:me/trunk", pretrained=True)' in text
    assert ModelCard(text).data.pipeline_tag == "image-feature-extraction"
    assert "None are recorded" in text


def test_the_cost_of_a_dilated_network_is_its_own(tmp_path):
    model = create_model("mobileone_s0", num_classes=2, output_stride=16)
    done = push(
        save_model(model, tmp_path / "dilated.safetensors"), "hf:me/dilated", license="mit",
        dry_run=tmp_path / "out",
    )  # fmt: skip
    macs = network_cost(model.variant, num_classes=2, output_stride=16).macs
    assert f"Multiply-accumulates: {macs / 1e6:,.0f} M an image" in (done.folder / "README.md").read_text()
