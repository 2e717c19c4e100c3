"""What a push may take the place of."""

import json

import pytest

from mobileone.errors import PublishError
from mobileone.publishing.push import push


def test_a_run_replaces_what_it_pushed_and_takes_its_stale_files_away(at_local_hub, run_dir):
    first = push(run_dir, "hf:me/pets", license="mit")
    record = json.loads((run_dir / "pushed.json").read_text())
    key = f"{at_local_hub.url}/me/pets@main"
    assert record == {key: {"commit": first.commit, "files": sorted(first.files)}}
    record[key]["files"].append("stale.onnx")
    (run_dir / "pushed.json").write_text(json.dumps(record))
    repository = at_local_hub.repos["me/pets"]
    repository.commits[first.commit] |= {"stale.onnx": b"of ours", "notes.txt": b"of theirs"}
    second = push(run_dir, "hf:me/pets", license="cc-by-4.0")
    assert second.commit != first.commit
    assert set(at_local_hub.files("me/pets")) == {".gitattributes", "notes.txt", *second.files}
    assert repository.log[-1][1] == first.commit


def test_the_commit_of_somebody_else_is_not_replaced_unless_it_is_named(at_local_hub, run_dir):
    push(run_dir, "hf:me/pets", license="mit")
    newer = at_local_hub.add("me/pets", at_local_hub.files("me/pets") | {"model.safetensors": b"better"})
    with pytest.raises(
        PublishError, match=rf"README.md of the commit {newer}, which was not pushed from here"
    ):
        push(run_dir, "hf:me/pets", license="mit")
    assert at_local_hub.files("me/pets")["model.safetensors"] == b"better"
    with pytest.raises(PublishError, match=f"stands at {newer}, not at the commit {'0' * 40}"):
        push(run_dir, "hf:me/pets", license="mit", parent="0" * 40)
    done = push(run_dir, "hf:me/pets", license="mit", parent=newer)
    assert at_local_hub.repos["me/pets"].branches["main"] == done.commit


def test_a_commit_that_comes_in_between_is_not_replaced(at_local_hub, run_dir):
    at_local_hub.add("me/pets", {".gitattributes": b""})
    at_local_hub.meanwhile = lambda: at_local_hub.add("me/pets", {"model.safetensors": b"theirs"})
    with pytest.raises(PublishError, match=r"somebody else pushed meanwhile; look .* \(412\)"):
        push(run_dir, "hf:me/pets", license="mit")
    assert at_local_hub.files("me/pets") == {"model.safetensors": b"theirs"}
    assert not (run_dir / "pushed.json").exists()


def test_a_public_repository_does_not_become_a_private_one(at_local_hub, run_dir):
    at_local_hub.add("me/pets", {".gitattributes": b""})
    with pytest.raises(PublishError, match="is there and public"):
        push(run_dir, "hf:me/pets", license="mit", private=True)
    assert len(at_local_hub.repos["me/pets"].log) == 1


def test_files_that_a_stranger_put_there_stay_where_none_is_replaced(at_local_hub, run_dir):
    at_local_hub.add("me/pets", {".gitattributes": b"", "notes.txt": b"theirs"})
    push(run_dir, "hf:me/pets", license="mit")
    assert at_local_hub.files("me/pets")["notes.txt"] == b"theirs"


def test_a_new_branch_begins_where_the_main_one_is(at_local_hub, run_dir):
    at_local_hub.add("me/pets", {"model.safetensors": b"theirs"})
    push(run_dir, "hf:me/pets", license="mit", revision="mine")
    assert at_local_hub.files("me/pets") == {"model.safetensors": b"theirs"}
    assert at_local_hub.files("me/pets", "mine")["model.safetensors"] != b"theirs"


def test_a_commit_that_fails_in_a_new_repository_says_that_it_is_empty(at_local_hub, run_dir):
    at_local_hub.refuse["POST /api/models/me/pets/commit"] = 503
    with pytest.raises(PublishError, match=r"trouble of its own \(503\).*is there, and empty"):
        push(run_dir, "hf:me/pets", license="mit")
    at_local_hub.refuse.clear()
    push(run_dir, "hf:me/pets", license="mit")  # which is nobody's yet
