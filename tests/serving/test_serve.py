"""The server as a process: it starts, answers, and stops when told."""

import http.client
import json
import re
import signal
import subprocess
import sys

import pytest

from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_it_serves_an_exported_file_until_it_is_told_to_stop(tmp_path, tiny, randomize, image):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    for name in ("uvicorn", "starlette", "prometheus_client"):
        pytest.importorskip(name, reason="needs the extra serve")
    spec = InputSpec(size=32)
    model = randomize(create_model(tiny, num_classes=2, class_names=("cat", "dog"), input_spec=spec)).eval()
    path = export(model, tmp_path / "net.onnx", format="onnx").path
    command = [sys.executable, "-m", "mobileone", "serve", path, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = re.search(r"at http://127\.0\.0\.1:(\d+)$", process.stderr.readline().strip())
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
            connection.request("POST", "/predict", image(9))
            answer = json.loads(connection.getresponse().read())
            connection.close()
            assert {score["class_name"] for score in answer["scores"]} == {"cat", "dog"}
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stderr.read().splitlines()[-1] == "stopped"
        assert process.wait(30) == 0
