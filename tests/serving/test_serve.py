"""Late requests are sent away; the server as a process: it starts, answers, and stops when told."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module

import pytest

from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

HALF = b"POST /predict HTTP/1.1\r\nhost: x\r\n"


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


def test_requests_that_do_not_come_keep_nobody_out_for_long(server, monkeypatch, wait_until):
    monkeypatch.setattr(import_module("mobileone.serving.serve"), "CONNECTIONS", 4)
    client = server(upload_s=2)
    late = [socket.create_connection(("127.0.0.1", client.port), timeout=30) for _ in range(4)]
    for each in late[:2]:  # the others say nothing at all
        each.sendall(HALF)
    assert client.ask("GET", "/health")[0] == 503
    for each in late:
        with each:
            assert each.recv(1) == b"", "it is closed"
    wait_until(lambda: client.ask("GET", "/health")[0] == 200)


def test_a_kept_connection_is_closed_by_a_late_request_and_not_before(server, image):
    client = server(upload_s=1)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    for _ in range(2):
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["status"] == "ok"
        time.sleep(1.5)  # uvicorn keeps it for 5 s
    connection.sock.sendall(HALF)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_what_is_sent_on_behind_an_answer_ends_the_connection(server):
    client = server(upload_s=1)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as slow:
        slow.sendall(b"POST /other HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        assert b" 404 " in slow.recv(4096)
        slow.sendall(b"x")
        started = time.monotonic()
        while slow.recv(4096):
            pass
        assert time.monotonic() - started < 4, "earlier than uvicorn's own 5 s, which the byte had ended"


def test_an_answer_may_take_longer_than_an_upload(server, image):
    client = server(upload_s=0.5)
    client.classifier.gate.clear()
    answer = socket.create_connection(("127.0.0.1", client.port), timeout=30)
    with answer:
        body = image(0)
        answer.sendall(HALF + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(1)
        client.classifier.gate.set()
        assert b" 200 " in answer.recv(4096)
