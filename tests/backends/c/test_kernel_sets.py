"""Every template is used, and every set of kernels has names of its own."""

import re
from importlib import resources

import pytest

from mobileone.backends.c.generator import generate
from mobileone.backends.c.kernel_sets import KERNEL_SETS, all_kernels, kernel_table, template
from mobileone.backends.c.packing import tile_shape

SHAPES = [tile_shape(64, 2, 56), tile_shape(64, 3, 56), tile_shape(64, 2, 60)]


@pytest.mark.parametrize("kernels", KERNEL_SETS, ids=lambda kernels: kernels.name)
def test_a_set_has_its_own_names_and_a_kernel_for_every_shape(kernels):
    text = kernels.text(SHAPES)
    assert re.search(r"\bV_", text) is None
    (table,) = re.findall(rf"{kernels.name}_pointwise_table\[\].*?= \{{(.*?)\}};", text, re.DOTALL)
    functions = [each.strip() for each in table.split(",")]
    assert len(functions) == len(SHAPES)
    for function in functions:
        assert len(re.findall(rf"{function}\(const uint8_t", text)) == 1
    assert (len(set(functions)) == 1) == (kernels.others is not None)
    assert text.startswith(f"#if {kernels.guard}\n")
    assert text.count("#if") == text.count("#endif")


def test_kernels_that_choose_their_tiles_have_one_for_every_number_of_channels():
    (relaxed,) = [each for each in KERNEL_SETS if each.name == "relaxed"]
    shapes = [tile_shape(64, 2, pixels, groups=groups) for pixels in (49, 56, 112) for groups in (12, 16)]
    text = relaxed.text(shapes)
    assert re.findall(r"void (relaxed_pointwise_\w+)\(", text) == [
        "relaxed_pointwise_64_12_2",
        "relaxed_pointwise_64_16_2",
    ]


def test_the_best_come_first_and_plain_c_last():
    lists = re.findall(r"#define ALL_KERNELS (.*)", all_kernels(SHAPES))
    assert [each.split(", ")[-1] for each in lists] == ["&plain_kernels"] * 6
    assert lists[0].startswith("&amx_kernels, &avx512vnni_kernels, &avxvnni_kernels")
    assert lists[1].startswith("&avx512vnni_kernels, &avxvnni_kernels")
    assert lists[3] == (
        "&relaxed_kernels, &relaxed_signed_kernels, &relaxed_pairs_kernels, &simd128_kernels, &plain_kernels"
    )


def test_no_template_lies_about_unused(little):
    source = generate(little)
    text = source.code + source.header
    for file in (resources.files("mobileone.backends.c") / "templates").iterdir():
        first = re.findall(r"/\* [=-]{4} ([^=:\n]*[^=:\n ])", template(file.name))
        assert not first or first[0] in text, file.name


def test_plain_c_reads_bytes_as_they_are():
    assert '"plain", plain_is_supported, 0,' in kernel_table("plain", "plain", ["f"])
