"""Fusing and expanding over every block shape there is, in float64 with random BatchNorm."""

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mobileone.errors import ConfigError
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.reparam.expand import expand
from mobileone.reparam.fuse import reparameterize
from mobileone.reparam.verify import verify
from mobileone.variants import BlockSpec

small = st.integers(1, 3)
relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def specs(draw):
    """Any block: groups 1, C and between; kernels odd, even and oblong; stride, dilation, padding, SE."""
    groups = draw(st.sampled_from([1, 2, 3, 4]))
    in_channels = groups * draw(small)
    same = draw(st.booleans())
    out_channels = in_channels if same else groups * draw(small)
    use_se = draw(st.booleans())
    if use_se:
        in_channels, out_channels = in_channels * 16, out_channels * 16
    options = {
        "kernel_size": (draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        "stride": (draw(small), draw(small)),
        "dilation": (draw(small), draw(small)),
        "padding": draw(st.sampled_from([None, 0, 1, 2])),
        "groups": groups,
        "num_conv_branches": draw(st.integers(1, 4)),
        "use_scale": draw(st.sampled_from([None, False])),
        "use_identity": draw(st.sampled_from([None, False])),
        "use_se": use_se,
    }
    try:
        return BlockSpec(in_channels, out_channels, **options)
    except ConfigError:
        assume(False)


def image_for(spec, seed):
    generator = torch.Generator().manual_seed(seed)
    side = [d * (k - 1) + 3 for k, d in zip(spec.kernel, spec.dilations, strict=True)]
    return torch.randn(2, spec.in_channels, *side, dtype=torch.float64, generator=generator)


@relaxed
@given(spec=specs(), seed=st.integers(0, 2**31))
def test_fusing_is_exact(randomize, spec, seed):
    torch.manual_seed(seed)
    block = randomize(MobileOneBlock(spec).double())
    verify(block, reparameterize(block), image_for(spec, seed)).require()


@relaxed
@given(spec=specs(), seed=st.integers(0, 2**31))
def test_expanding_is_exact_and_its_branches_differ(spec, seed):
    torch.manual_seed(seed)
    fused = InferenceBlock(spec).double().eval()
    torch.nn.init.normal_(fused.reparam_conv.bias)
    x = image_for(spec, seed)
    block = expand(fused, x)
    verify(fused, block, x).require()
    verify(block, reparameterize(block), x).require()
    kernels = [branch.conv.weight for branch in block.conv_branches]
    assert all(not torch.equal(kernels[0], other) for other in kernels[1:])
