"""Float OpenVINO graphs: names, batch, and weights of half the size."""

import pytest

from mobileone.backends.export_options import INPUT_NAME, OUTPUT_NAME, ExportOptions
from mobileone.backends.openvino.writer import write

ov = pytest.importorskip("openvino", reason="needs mobileone[openvino]")


def test_names_batch_and_weights(network, tmp_path):
    options = ExportOptions(raw_input=True, batch=None)
    graph, weights = write(network, tmp_path / "net.xml", options)
    assert (graph.name, weights.name) == ("net.xml", "net.bin")
    model = ov.Core().read_model(graph)
    (images,), (logits,) = model.inputs, model.outputs
    assert (images.any_name, logits.any_name) == (INPUT_NAME, OUTPUT_NAME)
    assert images.partial_shape.to_string() == "[?,32,32,3]"
    assert images.element_type == ov.Type.u8
    _, half = write(network, tmp_path / "half.xml", ExportOptions(half=True))
    assert half.stat().st_size == pytest.approx(weights.stat().st_size / 2, rel=0.05)
