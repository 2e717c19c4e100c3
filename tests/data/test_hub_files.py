"""Paths in a data set lead to its own files, or nowhere."""

from pathlib import Path

import pytest

from mobileone.data.hub_files import own_places, path_inside


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").touch()
    (tmp_path / "secret.png").touch()
    return tmp_path / "set"


def test_inside_is_where_links_lead(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "own.png").symlink_to(folder / "a.png")
    (folder.parent / "place").symlink_to(folder)
    own = str((folder / "a.png").resolve())
    for inside in (folder / "a.png", "a.png", folder / "own.png", folder / ".." / "set" / "a.png"):
        assert path_inside(str(inside), [folder]) == own
        assert path_inside(str(inside), [Path("/nowhere"), folder.parent / "place"]) == own
    for outside in (
        folder / "link.png",
        folder / ".." / "secret.png",
        f"{folder}-2/a.png",
        "https://a/b.png",
    ):
        assert path_inside(str(outside), [folder.parent / "place" / "x", folder / "a"]) is None
    assert path_inside(str(folder / "link.png"), [folder]) is None
    assert path_inside(own, ()) is None


def test_places_of_a_set_of_the_hub_are_the_caches(datasets, tmp_path, folder):
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    assert own_places(None) == (Path(constants.HF_HUB_CACHE), cache)
    assert own_places(folder) == (folder, cache / "downloads" / "extracted")
