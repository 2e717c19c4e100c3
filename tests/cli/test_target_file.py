"""Files that may or may not be written."""

import pytest

from mobileone.cli.target_file import refuse_existing, require_target
from mobileone.errors import ConfigError, MobileOneError


def test_what_exists_is_refused_without_force(tmp_path):
    refuse_existing(tmp_path / "new", force=False)
    refuse_existing(tmp_path, force=True)
    with pytest.raises(ConfigError, match="exists already; pass --force"):
        refuse_existing(tmp_path, force=False)


def test_a_target_is_tried_and_left_as_it_was(tmp_path):
    require_target(tmp_path / "deep" / "a.png", ".png")
    assert list((tmp_path / "deep").iterdir()) == []
    (tmp_path / "b.PNG").write_text("old")
    require_target(tmp_path / "b.PNG", ".png")
    assert (tmp_path / "b.PNG").read_text() == "old"
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        require_target(tmp_path / "a.jpg", ".png")
    (tmp_path / "c.png").mkdir()
    with pytest.raises(MobileOneError, match="it is a folder"):
        require_target(tmp_path / "c.png", ".png")
    with pytest.raises(MobileOneError, match="cannot write"):
        require_target(tmp_path / "b.PNG" / "a.png", ".png")
