import pytest

from mobileone.errors import ConfigError
from mobileone.variants import VARIANTS, BlockSpec, Variant, get_variant, network_units


def test_published_widths_and_branches():
    table = {v.name: (v.stem_channels, v.widths, v.num_conv_branches, v.se_blocks) for v in VARIANTS.values()}
    assert table == {
        "mobileone_s0": (48, (48, 128, 256, 1024), 4, (0, 0, 0, 0)),
        "mobileone_s1": (64, (96, 192, 512, 1280), 1, (0, 0, 0, 0)),
        "mobileone_s2": (64, (96, 256, 640, 2048), 1, (0, 0, 0, 0)),
        "mobileone_s3": (64, (128, 320, 768, 2048), 1, (0, 0, 0, 0)),
        "mobileone_s4": (64, (192, 448, 896, 2048), 1, (0, 0, 5, 1)),
    }


def test_units_follow_the_paper():
    units = list(network_units(VARIANTS["mobileone_s4"]))
    assert len(units) == 1 + 2 * 21
    stem, first_depthwise, first_pointwise = units[:3]
    assert (stem.name, stem.block.num_conv_branches, stem.block.use_identity) == ("stem", 1, False)
    assert (first_depthwise.block.groups, first_depthwise.block.strides) == (64, (2, 2))
    assert (first_depthwise.block.use_scale, first_depthwise.block.use_identity) == (True, False)
    assert (first_pointwise.block.kernel, first_pointwise.block.use_scale) == ((1, 1), False)
    with_se = [u.name for u in units if u.block.use_se]
    assert with_se == [f"stages.2.{i}" for i in range(10, 20)] + ["stages.3.0", "stages.3.1"]
    assert [u.reduction for u in units if u.name.endswith(".0")] == [4, 8, 16, 32]


def test_output_stride_trades_stride_for_dilation_and_keeps_the_branches():
    plain = {u.name: u.block for u in network_units(VARIANTS["mobileone_s0"])}
    dense = {u.name: u.block for u in network_units(VARIANTS["mobileone_s0"], output_stride=8)}
    assert dense["stages.2.0"].strides == (1, 1)
    assert dense["stages.2.2"].dilations == (2, 2)
    assert dense["stages.3.0"].dilations == (2, 2)
    for name, block in plain.items():
        assert block.num_branches == dense[name].num_branches, name


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"groups": 3}, "groups=3 must divide"),
        ({"num_conv_branches": 0}, "num_conv_branches must be at least 1"),
        ({"kernel_size": 2}, "has no same padding"),
        ({"kernel_size": 2, "padding": 0, "use_scale": True}, "odd kernel with same padding"),
        ({"kernel_size": 3, "padding": 0, "use_identity": True}, "odd kernel with same padding"),
        ({"stride": 2, "use_identity": True}, "identity branch needs stride 1"),
        ({"padding": -1}, "padding must not be negative"),
        ({"dilation": 0}, "dilation must be at least 1"),
        ({"use_se": True}, "at least 16 channels"),
    ],
)
def test_impossible_blocks_are_refused(options, wanted):
    with pytest.raises(ConfigError, match=wanted):
        BlockSpec(8, 8, **options)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean mobileone_s1"):
        get_variant("mobilone_s1")


def test_custom_variant_is_checked():
    with pytest.raises(ConfigError, match="se_blocks"):
        Variant("x", (8, 8, 8, 8), se_blocks=(3, 0, 0, 0))
    with pytest.raises(ConfigError, match="needs 4 values"):
        Variant("x", (8, 8, 8))  # type: ignore[arg-type]
    for wrong in (
        {"widths": (16.0, 8, 8, 8)},
        {"depths": (1, 1, 1, 1.0)},
        {"se_blocks": (0, 0, 0, "1")},
        {"num_conv_branches": 2.5},
        {"num_conv_branches": float("nan")},
        {"stem_width": 16.0},
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be a whole number, got"):
            Variant(**{"name": "x", "widths": (8, 8, 8, 8)} | wrong)
    for wrong in ({"widths": (8, 8, 8, 0)}, {"depths": (0, 1, 1, 1)}, {"stem_width": -1}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be at least 1, got"):
            Variant(**{"name": "x", "widths": (8, 8, 8, 8)} | wrong)
    assert Variant(**Variant("x", (8, 8, 8, 16)).to_dict()) == Variant("x", (8, 8, 8, 16))
