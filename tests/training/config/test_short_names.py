"""Every name that a field has ever had is still taken, and a stored run of then is still read."""

import json
from pathlib import Path

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.recipe import recipe
from mobileone.training.config.short_names import SHORT_NAMES, grouped
from mobileone.training.config.train_config import CONFIG_VERSION, TrainConfig, override
from mobileone.training.run.run_dir import RunDir

# config.json of `mobileone train --recipe digits --set epochs=2`, before there were groups.
STORED = Path(__file__).resolve().parents[2] / "golden" / "run_config_version_1.json"


def test_a_stored_run_of_version_1_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(STORED.read_bytes())
    files = RunDir(tmp_path)
    config = override(recipe("digits"), ["epochs=2"])
    assert files.read_config() == override(config, ["loss=cross_entropy"])
    assert files.changes(config) == []  # which loss=auto is
    start = files.start(config, resume=True, world_size=1)
    assert (start.resumes, start.world_size) == (True, 1)
    with pytest.raises(ConfigError, match=r"has optim\.momentum=0\.9, got 0\.5"):
        files.start(override(config, ["momentum=0.5"]), resume=True, world_size=1)


def test_every_field_of_version_1_is_a_setting_of_today() -> None:
    stored = json.loads(STORED.read_text())["config"]
    config = TrainConfig.from_dict(stored, version=1)
    flat = config.settings()
    for name, value in stored.items():
        if isinstance(value, dict):
            continue
        assert flat[SHORT_NAMES.get(name, name)] == value
        text = json.dumps(value) if not isinstance(value, str) else value
        if name not in ("model", "init", "val_data"):
            assert override(config, [f"{name}={text}"]) == config, name


def test_version_1_has_no_names_of_its_own_left() -> None:
    assert set(SHORT_NAMES.values()) <= set(TrainConfig().settings())
    with pytest.raises(ConfigError, match="unknown training field 'epoch'; did you mean epochs"):
        TrainConfig.from_dict({"epoch": 3}, version=1)
    assert grouped({"epoch": 3}) == {"epoch": 3}


def test_a_version_to_come_is_refused(tmp_path: Path) -> None:
    content = json.loads(STORED.read_text()) | {"version": CONFIG_VERSION + 1}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"version 3 cannot be read, only 1 to 2; update mobileone"):
        RunDir(tmp_path).read_config()
