"""`hf-hub:` and `hf:` against a hub in this process.

The library reads its environment when it is imported, so it runs in processes of its own.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from mobileone.checkpoint.store import save_model

SCRIPT = """
import json, sys
from mobileone.checkpoint.inspect import describe
from mobileone.errors import DownloadError
for source in sys.argv[1:]:
    try:
        card = describe(source)
        said = [card.variant.name, card.form, card.class_names, card.input_spec.crop, card.container]
        print(json.dumps(said))
    except DownloadError as error:
        print(json.dumps(str(error)))
assert "torch" not in sys.modules
"""


@pytest.fixture
def hub(local_hub, tmp_path, fused):
    save_model(fused, tmp_path / "repo")
    files = {path.name: path.read_bytes() for path in (tmp_path / "repo").iterdir()}
    torch.save(fused.state_dict(), tmp_path / "pytorch_model.bin")
    timm_config = {"architecture": "mobileone_s0", "pretrained_cfg": {"crop_pct": 0.9}}
    sha = local_hub.add("someone/tiny", files)
    local_hub.repos["someone/tiny"].branches["v1"] = sha
    old = (tmp_path / "pytorch_model.bin").read_bytes()
    local_hub.add("someone/old", {"pytorch_model.bin": old, "config.json": json.dumps(timm_config).encode()})
    local_hub.add("someone/bare", {"model.safetensors": files["model.safetensors"]})
    local_hub.add("someone/nothing", {"README.md": b"#"})
    return local_hub


def ask(hub, tmp_path, *sources, **environment):
    env = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "*",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *sources],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_repositories_of_every_kind_then_offline(hub, tmp_path):
    sources = ["hf-hub:someone/tiny", "hf:someone/tiny@v1", "hf-hub:someone/old", "hf-hub:someone/bare"]
    answers = ask(hub, tmp_path, *sources)
    tiny = ["tiny", "inference", list("abcde"), 0.875, "safetensors"]
    assert answers == [tiny, tiny, ["custom", "inference", None, 0.9, "torch zip"], tiny]
    asked = [path for command, path in hub.requests if command == "GET" and path.endswith("safetensors")]
    assert len(asked) == 2  # tiny once for both revisions, bare once
    hub.requests.clear()
    out_of_reach = "cannot fetch config.json of {}: it is not cached, and the hub is out of reach"
    assert ask(hub, tmp_path, *sources, "hf-hub:someone/else", HF_HUB_OFFLINE="1") == [
        *answers,
        out_of_reach.format("hf-hub:someone/else"),
    ]
    assert hub.requests == []
    # Weights alone are no model: what images they expect stands in the file that is missing.
    for config in tmp_path.glob("hf/hub/models--someone--old/snapshots/*/config.json"):
        config.unlink()
    assert ask(hub, tmp_path, sources[2], HF_HUB_OFFLINE="1") == [out_of_reach.format(sources[2])]


def test_what_the_hub_does_not_give(hub, tmp_path):
    missing, gated, revision, nothing, malformed = ask(
        hub,
        tmp_path,
        "hf-hub:someone/missing",
        "hf-hub:someone/gated",
        "hf-hub:someone/tiny@nope",
        "hf-hub:someone/nothing",
        "hf-hub:a/b/c",
    )
    for message, expected in [
        (missing, "cannot fetch config.json of hf-hub:someone/missing: no such repository"),
        (gated, "someone/gated: it is gated"),
        (revision, "someone/tiny: no branch, tag or commit 'nope'"),
        (nothing, "has no model.safetensors or pytorch_model.bin"),
        (malformed, "a/b/c"),
    ]:
        assert expected in message
        assert "\n" not in message
