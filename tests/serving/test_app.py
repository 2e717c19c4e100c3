"""An upload gets its own answer, a hostile one a refusal, and nobody waits for anybody else's fault."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from mobileone.decision import Decision
from mobileone.errors import ConfigError, MissingExtraError
from mobileone.serving.app import ServeLimits, need


def best(answer):
    return answer["scores"][0]["class_name"]


def test_an_image_is_answered_with_its_classes(server, image):
    client = server()
    status, answer = client.predict(image(128), "?topk=2")
    assert (status, best(answer), len(answer["scores"])) == (200, "c", 2)
    assert set(answer["scores"][0]) == {"index", "class_name", "name", "probability"}


def test_many_at_once_share_runs_and_get_their_own_answers(server, image, wait_until):
    client = server(batch_size=4, queue_size=50)
    client.classifier.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(client.predict, image(0))
        wait_until(lambda: client.classifier.batches == [1])
        others = [pool.submit(client.predict, image(64 * (number % 4))) for number in range(16)]
        wait_until(lambda: "mobileone_pending_images 17.0" in client.ask("GET", "/metrics")[1])
        client.classifier.gate.set()
        assert best(first.result()[1]) == "a"
        assert [best(each.result()[1]) for each in others] == list("abcd") * 4
    assert max(client.classifier.batches) == 4


def test_overload_is_refused_and_what_was_taken_is_answered(server, image, wait_until):
    client = server(queue_size=3)
    client.classifier.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(client.predict, image(192)) for _ in range(12)]
        wait_until(lambda: sum(each.done() for each in asked) == 9)
        client.classifier.gate.set()
        answers = [each.result() for each in asked]
    assert sorted(status for status, _ in answers) == [200] * 3 + [429] * 9
    assert all(best(answer) == "d" for status, answer in answers if status == 200)
    assert client.predict(image(0))[0] == 200
    counts = client.ask("GET", "/metrics")[1]
    assert 'mobileone_requests_total{status="429"} 9.0' in counts
    assert 'mobileone_requests_total{status="200"} 4.0' in counts


@pytest.mark.parametrize(
    ("body", "query", "status", "told"),
    [
        (b"no picture", "", 400, "not an image"),
        (b"", "", 400, "empty"),
        (b"\xff\xd8\xff\xe0" + bytes(500), "", 400, "upload"),
        (bytes(2001), "", 413, "larger than 2000 bytes"),
        (b"x", "?topk=0", 400, "topk"),
        (b"x", "?topk=many", 400, "topk"),
        (b"x", "?topk=%C2%B2", 400, "topk"),  # ², a digit that int() refuses
        (b"x", f"?topk={'1' * 5000}", 400, "topk"),
    ],
)
def test_hostile_uploads_are_refused(server, image, body, query, status, told):
    client = server(max_bytes=2000)
    got, answer = client.predict(body, query)
    assert (got, list(answer)) == (status, ["error"])
    assert told in answer["error"]
    assert client.predict(image(255))[0] == 200


def test_an_upload_that_declares_no_end_is_cut_at_the_limit(server, image):
    client = server(max_bytes=2000)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        slow.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        slow.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n" + b"1\r\nx\r\n")
        assert b" 413 " in slow.recv(4096)
    assert client.predict(image(0))[0] == 200


def test_a_slow_client_blocks_nobody_and_is_sent_away(server, image):
    client = server(upload_s=1.5, queue_size=1, workers=1)
    started = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc"
    slow = [socket.create_connection(("127.0.0.1", client.port), timeout=30) for _ in range(5)]
    for each in slow:
        each.sendall(started)
    assert best(client.predict(image(64))[1]) == "b"
    for each in slow:
        with each:
            assert b" 408 " in each.recv(4096)


def test_an_answer_that_takes_too_long_is_given_up(server, image, wait_until):
    client = server(answer_s=0.2)
    client.classifier.gate.clear()
    status, answer = client.predict(image(0))
    assert (status, answer["error"]) == (503, "no answer within 0.2 s; try again")
    client.classifier.gate.set()
    wait_until(lambda: client.predict(image(0))[0] == 200)


def test_an_unexpected_error_is_counted(server, image):
    client = server()
    client.classifier.logits = lambda pixels: pixels.no_such_name
    assert client.ask("POST", "/predict", image(0))[0] == 500
    counts = client.ask("GET", "/metrics")[1]
    assert 'mobileone_requests_total{status="500"} 1.0' in counts


def test_health_says_what_runs(server):
    status, text = server().ask("GET", "/health")
    assert status == 200
    assert '"classes":5' in text


def test_other_paths_and_methods_are_none(server):
    client = server()
    for path, status in (("/predict", 405), ("/other", 404)):
        got, text = client.ask("GET", path)
        assert (got, list(json.loads(text))) == (status, ["error"])
        assert "POST an image to /predict" in text


def test_a_form_is_told_to_send_the_file_itself(server, image):
    client = server()
    kind = {"content-type": "multipart/form-data; boundary=x"}
    status, text = client.ask("POST", "/predict", b"--x\r\n\r\n" + image(0) + b"\r\n--x--\r\n", **kind)
    assert (status, "not a form: curl --data-binary" in text) == (415, True)
    assert client.predict(image(0))[0] == 200


def test_a_calibrated_network_says_whether_it_is_sure(server, image):
    client = server(decision=Decision(temperatures=(64.0,), thresholds=(0, 0, 1.0, 0, 0)))
    assert client.predict(image(0))[1].items() >= {"sure": True, "doubt": None}.items()
    assert client.predict(image(128))[1].items() >= {"sure": False, "doubt": "unlikely"}.items()


@pytest.mark.parametrize("name", ["max_bytes", "upload_s", "answer_s", "queue_size", "batch_size", "workers"])
def test_limits_out_of_range_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be positive, got 0"):
        ServeLimits(**{name: 0})


def test_a_missing_library_names_the_extra():
    with pytest.raises(MissingExtraError, match=r"serving needs nothing_such .*\[serve\]"):
        need("nothing_such.module")


def test_labels_of_a_multi_label_network_are_in_the_answer(server, image):
    client = server(task="multilabel")
    status, answer = client.predict(image(128))
    assert (status, answer["labels"]) == (200, ["c"])
    assert answer["scores"][0]["probability"] == pytest.approx(0.5)
