"""Every licence that a file may name has a wording to go with it."""

import pytest

from mobileone.checkpoint.published import licence_text
from mobileone.licences import LICENCES


@pytest.mark.parametrize("name", LICENCES)
def test_its_wording_is_at_hand(name: str) -> None:
    assert len(licence_text(name)) > 1000
