"""Fixtures that every part of the suite shares."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mobileone.variants import Variant

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> Variant:
    """A network of our shape that is quick to run: k = 2, SE in the last two stages."""
    return Variant("tiny", (16, 16, 16, 32), num_conv_branches=2, depths=(1, 1, 2, 1), se_blocks=(0, 0, 1, 1))


@pytest.fixture
def randomize() -> Callable[[nn.Module], nn.Module]:
    """Gives every BatchNorm statistics and gains of its own, as training would, then calls eval()."""

    def apply(module: nn.Module) -> nn.Module:
        for bn in module.modules():
            if isinstance(bn, nn.BatchNorm2d):
                nn.init.normal_(bn.running_mean, std=0.5)
                nn.init.uniform_(bn.running_var, 0.5, 2.0)
                if bn.affine:
                    nn.init.normal_(bn.weight, mean=0.5, std=0.5)
                    nn.init.normal_(bn.bias, std=0.5)
        return module.eval()

    return apply


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights and photos that lies beside the checkout; skips where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the checkout: the real weights and photos are not here")
    return SHARED_DATA.resolve()
