"""ExecuTorch's runtime; that it computes the right thing is in tests/contract."""

import pytest

from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError

pytest.importorskip("executorch", reason="needs mobileone[executorch]")


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"ExecuTorch cannot load .*garbage\.pte"):
        open_session(garbage("executorch"), threads=1)
