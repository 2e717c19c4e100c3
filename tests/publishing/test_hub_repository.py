"""A hub that refuses: one line each, with what to do, and never the token."""

import pytest
from huggingface_hub import constants
from tests.local_hub import READ_TOKEN

from mobileone.errors import PublishError
from mobileone.publishing.hub_repository import HubRepository


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "README.md").write_text("# hello")
    return tmp_path / "up"


def push(folder):
    repository = HubRepository("me/pets")
    repository.commit(folder, delete=[], parent=repository.standing().head, message="a line")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "does not take it"),
        (401, "does not know the token; run `hf auth login`, or set HF_TOKEN"),
        (403, "may not write there"),
        (404, "no such owner or repository"),
        (409, "somebody else changed it meanwhile"),
        (413, "too large"),
        (418, "the hub answers 418"),
        (429, "too many requests"),
        (500, "trouble of its own"),
    ],
)
def test_every_refusal_is_a_line(at_local_hub, folder, status, said):
    at_local_hub.add("me/pets", {".gitattributes": b""})
    at_local_hub.refuse["/commit/"] = status
    with pytest.raises(PublishError, match=f"cannot push to hf:me/pets: .*{said}") as caught:
        push(folder)
    assert "\n" not in str(caught.value)
    assert set(at_local_hub.files("me/pets")) == {".gitattributes"}


def test_no_token_a_wrong_one_and_one_that_may_not_write(at_local_hub, folder, monkeypatch, tmp_path):
    at_local_hub.add("me/pets", {".gitattributes": b""})
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(PublishError, match=r"may not write there.*\(403\)"):
        push(folder)
    monkeypatch.setenv("HF_TOKEN", "hf_wrongsecret")
    with pytest.raises(PublishError, match=r"does not know the token") as caught:
        push(folder)
    assert "hf_wrongsecret" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PublishError, match="without a token; run `hf auth login`, or set HF_TOKEN"):
        HubRepository("me/pets")


def test_what_the_hub_cites_never_holds_the_token(at_local_hub, folder, monkeypatch):
    at_local_hub.add("me/pets", {".gitattributes": b""})
    repository = HubRepository("me/pets")

    def fail(*_, **__):
        raise RuntimeError("Authorization: Bearer hf_writesecret\nmore")

    monkeypatch.setattr(repository._api, "create_commit", fail)
    with pytest.raises(PublishError, match="its library gave up: ") as caught:
        repository.commit(folder, delete=[], parent=None, message="a line")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_network_and_offline(at_local_hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE is set; unset it"):
        HubRepository("me/pets").standing()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(PublishError, match="cannot look at hf:me/pets: the hub is out of reach"):
        HubRepository("me/pets").standing()


def test_a_name_that_is_taken_and_hidden(at_local_hub):
    at_local_hub.add("me/hidden", {})
    with pytest.raises(PublishError, match=r"cannot create hf:me/hidden: it is there already"):
        HubRepository("me/hidden").create(private=False)
