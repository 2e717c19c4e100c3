"""Float .onnx files are whole in one file and named as the manifest says."""

import pytest

from mobileone.backends.export_options import INPUT_NAME, OUTPUT_NAME, ExportOptions
from mobileone.backends.onnx.writer import OPSET, tensor, write

onnx = pytest.importorskip("onnx", reason="needs mobileone[onnx]")
pytest.importorskip("onnxscript", reason="needs mobileone[onnx]")


def test_names_batch_and_weights(network, tmp_path):
    options = ExportOptions(raw_input=True, batch=None, half=True)
    assert write(network, tmp_path / "net.onnx", options) == [tmp_path / "net.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"], "no weights beside it"
    model = onnx.load(tmp_path / "net.onnx")
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, logits.name) == (INPUT_NAME, OUTPUT_NAME)
    first, *others = images.type.tensor_type.shape.dim
    assert first.dim_param, "any number of images"
    assert [dim.dim_value for dim in others] == [*tensor(network, options).shape(1)[1:]]
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [each.version for each in model.opset_import if each.domain == ""] == [OPSET]
    large = [each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[0] > 1]
    assert {each.data_type for each in large} == {onnx.TensorProto.FLOAT16}
