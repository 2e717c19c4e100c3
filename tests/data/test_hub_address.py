"""How a data set on the hub is named."""

from pathlib import Path

import pytest

from mobileone.data.hub_address import hub_place, is_hub_data, is_saved_here, parse_hub_address
from mobileone.errors import DataError


def test_every_part():
    address = parse_hub_address("hf:owner/name@v1:test?config=plain&image=img&label=fine_label")
    assert (address.place, address.revision, address.split) == ("owner/name", "v1", "test")
    assert (address.config, address.image, address.label) == ("plain", "img", "fine_label")
    assert (str(address), address.folder) == ("hf:owner/name", None)
    assert parse_hub_address("hf:mnist").split is None


def test_streaming():
    assert parse_hub_address("hf:owner/name:train?label=fine&stream=true").stream
    assert not parse_hub_address("hf:owner/name?stream=false").stream
    assert not parse_hub_address("hf:owner/name").stream
    with pytest.raises(DataError, match=r"stream is true or false, got yes in hf:a/b\?stream=yes"):
        parse_hub_address("hf:a/b?stream=yes")


def test_folders_of_this_machine(tmp_path):
    address = parse_hub_address(f"hf:{tmp_path}/saved:train")
    assert (address.folder, address.split) == (tmp_path / "saved", "train")
    assert parse_hub_address("hf:/home/me@corp/set@2:train").folder == Path("/home/me@corp/set@2")
    assert not is_saved_here(f"hf:{tmp_path}/saved")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").touch()
    assert is_saved_here(f"hf:{tmp_path}/saved:train")
    assert not is_saved_here("hf:saved")
    assert hub_place(f"hf:{tmp_path}/saved") is None
    assert is_hub_data("hf:saved")
    assert not is_hub_data("hf-hub:saved")


@pytest.mark.parametrize(
    "text", ["hf:", "hf:?label=a", "hf:a/b?labels=a", "hf:a/b?label=", "hf:a/b?x", "hf::train"]
)
def test_what_is_none(text):
    with pytest.raises(DataError, match=r"hf:owner/name\[@revision\]\[:split\]") as caught:
        parse_hub_address(text)
    assert "\n" not in str(caught.value)
