"""LiteRT's interpreter, as tests run files in memory."""

import pytest

from mobileone.backends.quiet import quiet


@pytest.fixture(scope="session")
def execute():
    """`execute(content, images)`: logits of a .tflite file for a batch, resized where it holds another."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs mobileone[litert]")

    def run(content, images):
        with quiet():
            session = interpreter.Interpreter(model_content=content, num_threads=1)
            (image,) = session.get_input_details()
            if tuple(image["shape"]) != images.shape:
                session.resize_tensor_input(image["index"], images.shape, strict=True)
            session.allocate_tensors()
        session.set_tensor(image["index"], images)
        session.invoke()
        return session.get_tensor(session.get_output_details()[0]["index"])

    return run
