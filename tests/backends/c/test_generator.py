"""The C file computes the simulator's integers, with every set of kernels and any number of threads."""

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch

from mobileone.backends.c.generator import generate
from mobileone.backends.c.integers import class_maps, feature_scale, run_integers
from mobileone.backends.c.symbols import CSymbols
from mobileone.backends.quantized_network import QuantizedWeight
from mobileone.errors import ArtifactError, ConfigError, ExportError
from mobileone.quantization.simulate import simulate

SHAPES = {
    "one channel each": {"widths": (3, 1, 2, 5), "depths": (1, 2, 1, 2), "size": 40, "num_classes": 1},
    "many classes": {"widths": (48, 48, 128, 256), "depths": (2, 2, 2, 1), "size": 64, "num_classes": 1000},
    "seven channels in": {"widths": (100, 16, 65, 33), "depths": (1, 2, 1, 2), "size": 67, "in_chans": 7},
    "grey, odd": {"widths": (7, 24, 20, 80), "size": 33, "in_chans": 1, "num_classes": 3},
    "attention everywhere": {
        "widths": (16, 32, 48, 96),
        "depths": (2, 1, 2, 2),
        "se_blocks": (2, 1, 2, 2),
        "size": 50,
        "num_classes": 0,
        "in_chans": 4,
    },
    "wide image": {"widths": (17, 20, 33, 47), "depths": (1, 1, 2, 2), "size": 225, "num_classes": 5},
}


def supported(network):
    """The sets of kernels that this processor runs."""
    names = []
    for name in network.kernels():
        try:
            network.use_kernels(name)
        except ArtifactError as error:
            if "does not have the instructions" not in str(error):
                raise
        else:
            names.append(name)
    return names


def assert_exact(network, quantized, images):
    """All outputs, bit for bit, with all kernels."""
    wanted = np.stack([run_integers(quantized, image).outputs for image in images])
    names = supported(network)
    assert names[-1] == "plain"
    for name in names:
        network.use_kernels(name)
        np.testing.assert_array_equal(network.logits(images), wanted, err_msg=name)
    return wanted


def test_every_kernel_computes_the_simulators_integers(little, little_library, noise):
    images = noise(little)
    wanted = assert_exact(little_library, little, images)
    oracle = simulate(little, torch.from_numpy(images).permute(0, 3, 1, 2), head="static").numpy()
    np.testing.assert_allclose(wanted, oracle, rtol=0, atol=1e-5 * np.abs(oracle).max())


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(little, compile_source, noise, threads):
    network = compile_source(generate(little), threads=threads)
    assert_exact(network, little, noise(little, 3))


SPANS = """
#include "net.c"
#include <stdio.h>
int main(void) {
  for (int s = 0; s < NUM_STEPS; s++)
    for (int threads = 1; threads <= 5; threads++)
      for (int share = 0; share < threads; share++)
        for (int chunk = 0; chunk < chunks_of(&steps[s], threads); chunk++) {
          const span at = span_of(&steps[s], threads, share, chunk);
          printf("%d %d %d %d %d %d\\n", s, length_of(&steps[s]), threads, share, at.begin, at.end);
        }
}
"""


def test_threads_have_equal_shares_whose_rows_follow_one_another(little, compiler, tmp_path):
    """And each share begins pairs of rows anew: cut across, a pair would be computed twice."""
    source = generate(little, size=(224, 224))
    (tmp_path / "net.c").write_text(source.code, encoding="utf-8")
    (tmp_path / "net.h").write_text(source.header, encoding="utf-8")
    (tmp_path / "spans.c").write_text(SPANS)
    subprocess.run([compiler, "-O0", "-w", "spans.c", "-o", "spans"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "spans"], capture_output=True, text=True, check=True)
    lines = [[int(value) for value in line.split()] for line in done.stdout.splitlines()]
    for (_, length, threads), spans in groupby(lines, key=lambda line: line[:3]):
        at = 0
        for share, own in groupby(spans, key=lambda line: line[3]):
            first = at
            for *_, begin, end in own:
                if begin < end:
                    assert begin == at
                    assert (begin - first) % 2 == 0
                    at = end
            assert at == min((share + 1) * -(-length // threads), length)


def test_rectangles(little, compile_source, noise):
    size = (50, 93)
    assert_exact(compile_source(generate(little, size=size)), little, noise(little, size=size))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes(make_network, compile_source, noise, shape, command):
    if shutil.which(command) is None:
        pytest.skip(f"needs {command}")
    quantized = make_network(**SHAPES[shape])
    for threads in (1, 3):
        network = compile_source(generate(quantized), command=(command,), threads=threads)
        assert_exact(network, quantized, noise(quantized))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [("-fsanitize=undefined,bounds", "-fno-sanitize-recover=all"), ("-O3",), ("-O1",)]
)
def test_flags_change_nothing(little, compile_source, noise, flags):
    assert_exact(compile_source(generate(little), *flags), little, noise(little))


def test_a_wrong_kernel_is_found_and_not_used(little, compile_source, noise, little_library):
    """The best set gets a table with two functions in each other's place."""
    best = supported(little_library)[0]
    source = generate(little)
    right = rf'("{best}", .*?){{(\w+_depthwise_1), (\w+_depthwise_2)}}'
    code, count = re.subn(right, r"\1{\3, \2}", source.code)
    assert count == 1
    broken = replace(source, code=code)
    network = compile_source(broken)
    network.logits(noise(little))
    assert network.chosen_kernels not in (best, None)
    for wrong in (network.self_test, lambda: network.use_kernels(best)):
        with pytest.raises(ArtifactError, match="wrong integers"):
            wrong()


def test_the_best_kernels_are_chosen(little_library, little, noise):
    network = little_library
    network.self_test()
    names = supported(network)
    network.use_kernels(names[0])
    network.logits(noise(little))
    assert network.chosen_kernels == names[0]


def test_a_run_leaves_its_last_map_and_the_places_of_each_class(little, little_library, noise):
    images = noise(little)
    results = [run_integers(little, image) for image in images]
    scale = feature_scale(little, little.layers.convs[-1])
    for name in supported(little_library):
        little_library.use_kernels(name)
        features = little_library.features(images)
        np.testing.assert_array_equal(features, np.stack([each.last_map * scale for each in results]))
        for index in range(37):
            maps = little_library.class_maps(images, [index] * len(images))
            wanted = np.stack([class_maps(little, each.last_map)[..., index] for each in results])
            np.testing.assert_array_equal(maps, wanted, err_msg=f"{name}, class {index}")
    with pytest.raises(ArtifactError, match="no class of that index"):
        little_library.class_maps(images, [0, 37])


def test_maps_add_up_to_the_logits(little, little_library, noise):
    images = noise(little)
    logits, bias = little_library.logits(images), little.layers.classifier.bias
    for index in (0, 36):
        sums = little_library.class_maps(images, [index] * len(images)).mean((1, 2)) + bias[index]
        half_steps = np.abs(little.weights["head.fc"].values[index].astype(float)).sum() / 2
        unit = little.weights["head.fc"].scale[index] * little.activations["pooled"].step
        assert np.abs(sums - logits[:, index]).max() <= half_steps * unit * 1.001


def giving_maps(quantized, *names):
    """The network without a classifier, with these convolutions' maps as its output."""
    features = {name: f"features_{index}" for index, name in enumerate(names)}
    channels = {conv.name: conv.out_channels for conv in quantized.layers.convs}
    gains = {name: np.linspace(0.5, 2, channels[name]).astype(np.float32) for name in names}
    return replace(
        quantized, layers=replace(quantized.layers, classifier=None, features=features), gains=gains
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_maps_on_the_way_are_the_output(little, compile_source, noise, threads):
    convs = [conv.name for conv in little.layers.convs]
    attended = next(conv.name for conv in little.layers.convs if conv.attention and not conv.is_depthwise)
    quantized = giving_maps(little, convs[0], attended, convs[-1])
    source = generate(quantized)
    assert f"{attended}: " in source.header
    network = compile_source(source, threads=threads)
    wanted = assert_exact(network, quantized, noise(little))
    assert wanted.shape[1] == network.num_outputs == 34 * 34 * 20 + 5 * 5 * 33 + 3 * 3 * 80
    network.self_test()


def test_a_network_of_one_convolution_gives_its_map(make_network, compile_source, noise):
    quantized = make_network((8, 8, 8, 8), num_classes=0)
    first = quantized.layers.convs[:1]
    quantized = replace(quantized, layers=replace(quantized.layers, convs=first))
    quantized = giving_maps(quantized, first[0].name)
    assert_exact(compile_source(generate(quantized)), quantized, noise(quantized))


def test_without_a_classifier_there_are_maps_but_of_no_class(make_network, compile_source, noise):
    quantized = make_network((16, 16, 24, 40), num_classes=0)
    network = compile_source(generate(quantized))
    (image,) = images = noise(quantized, 1)
    wanted = np.empty((*network.map_shape,), np.float32)
    error = network._function("features")(network._workspace, wanted.ctypes.data)
    assert b"nothing was run yet" in network._function("error_text")(error)
    wanted = run_integers(quantized, image).last_map * feature_scale(quantized, quantized.layers.convs[-1])
    np.testing.assert_array_equal(network.features(images)[0], wanted)
    with pytest.raises(ArtifactError, match="no class of that index"):
        network.class_maps(images, [0])


def test_the_prefix_is_in_all_public_names(little, compiler, tmp_path):
    source = generate(little, symbols=CSymbols(prefix="camera", visibility="static"))
    assert "mobileone_net" not in source.code + source.header
    assert "camera_run(" in source.header
    assert "#define CAMERA_API static" in source.header


def test_images_that_are_too_small(little):
    with pytest.raises(ConfigError, match="at least 32×32, got 31×40"):
        generate(little, size=(31, 40))


def test_weights_that_are_no_numbers(little):
    name = little.layers.convs[2].name
    weight = little.weights[name]
    bad = QuantizedWeight(values=weight.values, scale=weight.scale * np.float32("nan"), bias=weight.bias)
    with pytest.raises(ExportError, match=f"{name} has NaN"):
        generate(replace(little, weights={**little.weights, name: bad}))


def test_the_weights_licence_is_in_both_files(little):
    theirs = generate(replace(little, layers=replace(little.layers, licence="apple")))
    begin = theirs.code[: theirs.code.index("#if")]
    assert "The weights are under this licence" in begin
    assert " * Copyright (C) 2022 Apple Inc. All Rights Reserved.\n" in begin
    assert begin.count("/*") == begin.count("*/") == 2
    assert "the weights under another (Apple's, see apple/ml-mobileone), with which" in theirs.header
    ours = generate(little)
    assert "Apple" not in ours.code + ours.header
    assert "the weights under that of whoever trained them" in ours.header


def test_class_names_are_in_the_file(little, compile_source):
    names = tuple(f'class "{i}" ä?\\' for i in range(37))
    network = compile_source(generate(replace(little, layers=replace(little.layers, class_names=names))))
    assert [network.class_name(i) for i in range(37)] == list(names)
    assert network.class_name(37) is None
    assert network.class_name(-1) is None
    assert network.version.startswith("mobileone ")
