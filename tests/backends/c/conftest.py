"""Random integer networks, and what compiles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobileone.backends.c.generator import CSource, generate
from mobileone.backends.c.session import CNetwork
from mobileone.backends.fused_layers import layers_of, read_pixels
from mobileone.backends.quantized_network import Int8Encoding, QuantizedNetwork, QuantizedWeight
from mobileone.c_compiler import FLAGS, compile_c
from mobileone.model.create import create_model
from mobileone.variants import Variant

NetworkMaker = Callable[..., QuantizedNetwork]


def random_network(
    widths: tuple[int, int, int, int],
    *,
    depths: tuple[int, int, int, int] = (1, 1, 1, 1),
    se_blocks: tuple[int, int, int, int] = (0, 0, 0, 0),
    stem_width: int | None = None,
    size: int = 32,
    num_classes: int = 7,
    in_chans: int = 3,
    seed: int = 0,
) -> QuantizedNetwork:
    """Integers at random, extremes among them, whose outputs neither vanish nor are cut off everywhere."""
    torch.manual_seed(seed)
    variant = Variant("random", widths, depths=depths, se_blocks=se_blocks, stem_width=stem_width)
    model = create_model(variant, num_classes=num_classes, in_chans=in_chans, form="inference").eval()
    model.set_input_size(size)
    layers, border = read_pixels(layers_of(model))
    generator = np.random.default_rng(seed)
    weights: dict[str, QuantizedWeight] = {}
    source = Int8Encoding((1 / 255,), -128)
    activations = {"image": source, "pooled": Int8Encoding((0.5 / 255,), -128)}
    for conv in layers.convs:
        values = generator.integers(-127, 128, conv.weight.shape).astype(np.int8)
        values.reshape(len(values), -1)[: len(values) // 3, :2] = (127, -127)[: values[0].size]
        zero = -128 if conv.attention is None else int(generator.integers(-60, 60))
        activations[conv.name] = output = Int8Encoding((1 / 255,), zero)
        spread = 0.07 / np.sqrt(values[0].size) * generator.uniform(0.5, 1.5, len(values))
        weights[conv.name] = QuantizedWeight(
            values=values,
            scale=(spread * output.step / source.step).astype(np.float32),
            bias=generator.integers(-3000, 9000, len(values)).astype(np.int32),
        )
        source = output
        if conv.attention is not None:
            source = activations[f"{conv.name}.attn"] = Int8Encoding((1 / 765,), -128)
    if layers.classifier is not None:
        values = generator.integers(-127, 128, layers.classifier.weight.shape).astype(np.int8)
        scale = generator.uniform(0.005, 0.015, len(values)).astype(np.float32)
        weights[layers.classifier.name] = QuantizedWeight(values=values, scale=scale, bias=None)
    return QuantizedNetwork(layers=layers, weights=weights, activations=activations, border=border)


@pytest.fixture(scope="session")
def make_network() -> NetworkMaker:
    """`make_network(widths, …)`: an integer network."""
    return random_network


@pytest.fixture(scope="session")
def little() -> QuantizedNetwork:
    """Every kind of step, blocks of one, two and three vectors, attention, odd maps."""
    return random_network(
        (48, 16, 33, 80), depths=(1, 2, 2, 1), se_blocks=(0, 0, 1, 1), stem_width=20, size=67, num_classes=37
    )


@pytest.fixture(scope="session")
def compile_source(tmp_path_factory, compiler) -> Callable[..., CNetwork]:
    """`compile_source(source, *flags, command=…, threads=…)`: the network, ready to run."""

    def build(source: CSource, *flags: str, command: tuple[str, ...] = (), threads: int = 1) -> CNetwork:
        folder = tmp_path_factory.mktemp("c")
        write_source(source, folder)
        library = folder / "net.so"
        options = ("-Wall", "-Wextra", "-Werror", "-DMOBILEONE_NET_THREADS", "-pthread", "-shared", "-fPIC")
        compile_c([*(command or (compiler,)), *FLAGS, *options, *flags], folder / "net.c", library)
        return CNetwork(library, "mobileone_net", threads=threads)

    return build


def write_source(source: CSource, folder: Path) -> Path:
    """Both files; the path of the code."""
    (folder / "net.h").write_text(source.header, encoding="utf-8")
    (folder / "net.c").write_text(source.code, encoding="utf-8")
    return folder / "net.c"


@pytest.fixture(scope="session")
def little_library(little, compile_source) -> CNetwork:
    """The little network, compiled once."""
    return compile_source(generate(little))


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """`noise(quantized, number)`: pictures that fit a network, uint8 (N, H, W, C)."""

    def make(quantized: QuantizedNetwork, number: int = 2, size: tuple[int, int] | None = None) -> np.ndarray:
        side, channels = quantized.layers.input_spec.size, quantized.layers.convs[0].in_channels
        shape = (number, *(size or (side, side)), channels)
        return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def with_conv() -> Callable[..., QuantizedNetwork]:
    """`with_conv(quantized, index, **changes)`: the network with one convolution changed."""

    def change(quantized: QuantizedNetwork, index: int, **changes: object) -> QuantizedNetwork:
        convs = list(quantized.layers.convs)
        convs[index] = replace(convs[index], **changes)
        return replace(quantized, layers=replace(quantized.layers, convs=tuple(convs)))

    return change
