"""Where a data argument leads."""

from pathlib import Path

import pytest

from mobileone.data.open import open_data
from mobileone.errors import DataError


def test_digits_are_a_word_and_folders_are_paths(tmp_path: Path) -> None:
    assert len(open_data("digits", split="train")) == 1437
    with pytest.raises(DataError):
        open_data(tmp_path / "digits", split="val")
