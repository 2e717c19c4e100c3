"""An int8 network as C: constants and a table of steps, between templates that are the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

import numpy as np
from numpy.typing import NDArray

from mobileone import __version__
from mobileone.backends.c.c_text import byte_array, c_float, c_string, section, string_array
from mobileone.backends.c.channel_order import order_channels
from mobileone.backends.c.decision_block import decision_block
from mobileone.backends.c.integers import run_integers
from mobileone.backends.c.kernel_sets import all_kernels, template
from mobileone.backends.c.layer_tables import LayerTables
from mobileone.backends.c.network_steps import (
    MapSpec,
    NetworkPlan,
    gathers_pairs,
    plan_network,
    stem_pitch,
)
from mobileone.backends.c.packing import gather_places
from mobileone.backends.c.symbols import CSymbols, rename
from mobileone.backends.c.workspace import Workspace, plan_workspace
from mobileone.backends.fused_layers import ConvLayer
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.checkpoint.published import licence_text
from mobileone.errors import ConfigError, ExportError
from mobileone.input_spec import InputSpec, sides
from mobileone.licences import LICENCES
from mobileone.variants import Pair

SMALLEST_SIDE = 32
TEST_ROW_BYTES = 13  # from one row of the self-test's image to the next; kernels read no further beyond a row


@dataclass(frozen=True, slots=True, kw_only=True)
class CSource:
    """The text of the two files, and what they take.

    Attributes:
        code: the .c file.
        header: the .h file.
        weight_bytes: of the constants.
        workspace_bytes: of one thread.
        thread_bytes: of every further one.
    """

    code: str
    header: str
    weight_bytes: int
    workspace_bytes: int
    thread_bytes: int


def generate(
    quantized: QuantizedNetwork,
    *,
    size: Pair | None = None,
    symbols: CSymbols = CSymbols(),  # noqa: B008, it never changes
    header_name: str = "net.h",
    title: str = "MobileOne, int8",
) -> CSource:
    """The network as one C11 file and its header.

    Args:
        quantized: the network.
        size: (height, width) of the image; None is the input spec's.
        symbols: names and visibility of its functions.
        header_name: what the code includes.
        title: the files' first line.

    Raises:
        ConfigError: on an image smaller than 32 pixels.
        ExportError: if a layer is none that the C kernels know, or a weight is not finite.
    """
    size = size or sides(quantized.layers.input_spec.size)
    if min(size) < SMALLEST_SIDE:
        raise ConfigError(f"the C engine takes images of at least 32×32, got {size[0]}×{size[1]}")
    _check_finite(quantized)
    quantized = order_channels(quantized)
    plan, tables = plan_network(quantized, size), LayerTables(quantized)
    stem_panels = tables.stem(plan.stem, image_width=size[1], width=plan.stem_size[1])
    steps = [tables.step(index, step) for index, step in enumerate(plan.steps)]
    image = test_image(plan)
    workspace = plan_workspace(plan, quantized.layers, test_bytes=test_image_bytes(plan))
    defines = _defines(quantized, plan, workspace, stem_panels) | {
        "HAS_PLAIN_SUMS": str(int(tables.has_plain_sums)),
        "HAS_LOW_SUMS": str(int(tables.has_low_sums)),
        "GROUP_NUMBER": f"uint{8 * tables.group_bytes}_t",
        "TEST_IMAGE_BYTES": str(test_image_bytes(plan)),
        "TEST_ROW_BYTES": str(TEST_ROW_BYTES),
        "TEST_HASH": f"0x{run_integers(quantized, image).digest:08X}u",
        "VERSION_TEXT": c_string(f"mobileone {__version__}, {title}"),
    }
    tables.features()
    names = quantized.layers.class_names
    named = names is not None and quantized.layers.classifier is not None
    begin = f"/* {title}. Made by mobileone {__version__}; {header_name} says how it is used. */\n"
    parts = [
        *_licence(quantized.layers.licence),
        Template(template("preamble.c")).substitute(header=header_name),
        "\n".join(f"#define {name} {value}" for name, value in defines.items()) + "\n",
        template("types.c"),
        template("plain.c"),
        template("processor.c"),
        *_places(plan.stem),
        all_kernels(tables.shapes),
        section("Constants: weights as the kernels read them"),
        *tables.constants,
        *([string_array("class_names", names)] if names is not None and named else []),
        "",
        template("engine_types.c"),
        section("Maps, layers and steps"),
        tables.map_table(workspace.slots),
        *tables.tables,
        "\nstatic const step steps[] = {\n" + ",\n".join(steps) + "};\n",
        *map(template, ("engine.c", "run.c", "threads.c", "api.c")),
        decision_block(None),
        template("decide.c"),
    ]
    code = rename("\n".join(parts), {"PREFIX_UPPER": symbols.prefix.upper(), "PREFIX": symbols.prefix})
    return CSource(
        code=f"{begin}\n{code}",
        header=_header(quantized, plan, workspace, tables.weight_bytes, symbols, title),
        weight_bytes=tables.weight_bytes,
        workspace_bytes=workspace.shared_bytes + workspace.thread_bytes,
        thread_bytes=workspace.thread_bytes,
    )


def test_image_bytes(plan: NetworkPlan) -> int:
    """Of the self-test's image, whose rows overlap."""
    height, width = plan.image
    return width * plan.stem.in_channels + TEST_ROW_BYTES * (height - 1)


def test_image(plan: NetworkPlan) -> NDArray[np.uint8]:
    """The self-test's image (H, W, C), as templates/run.c makes it."""
    values, state = np.empty(test_image_bytes(plan), np.uint8), 1
    for i in range(len(values)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[i] = state >> 24
    channels = plan.stem.in_channels
    return np.lib.stride_tricks.as_strided(
        values, (*plan.image, channels), (TEST_ROW_BYTES, channels, 1), writeable=False
    )


def _check_finite(quantized: QuantizedNetwork) -> None:
    for part in quantized.layers.parts():
        weight = quantized.weights.get(part.name)
        scale = np.ones(1) if weight is None else weight.scale
        if not all(np.isfinite(values).all() for values in (part.weight, part.bias, scale)):
            raise ExportError(f"{part.name} has NaN or infinite weights; the model is no use")


def _licence(name: str | None) -> list[str]:
    """The wording that the weights bring, as a comment."""
    if name is None:
        return []
    lines = licence_text(name).replace("*/", "* /").splitlines()
    return ["/* The weights are under this licence:\n *", *(f" * {line}".rstrip() for line in lines), " */\n"]


def _places(stem: ConvLayer) -> list[str]:
    if not gathers_pairs(stem):
        return []
    return [
        "#if HAS_X86_KERNELS",
        byte_array("gather_places", gather_places(stem), kind="uint8_t"),
        "#endif\n",
    ]


def _defines(
    quantized: QuantizedNetwork, plan: NetworkPlan, workspace: Workspace, stem_panels: int
) -> dict[str, str]:
    layers, stem, activations = quantized.layers, plan.stem, quantized.activations
    last = layers.convs[-1]
    numbers = {
        "IMAGE_HEIGHT": plan.image[0],
        "IMAGE_WIDTH": plan.image[1],
        "IMAGE_CHANNELS": stem.in_channels,
        "STEM_KERNEL_H": stem.weight.shape[2],
        "STEM_KERNEL_W": stem.weight.shape[3],
        "STEM_STRIDE_H": stem.stride[0],
        "STEM_STRIDE_W": stem.stride[1],
        "STEM_PADDING_H": stem.padding[0],
        "STEM_PADDING_W": stem.padding[1],
        "STEM_WIDTH": plan.stem_size[1],
        "STEM_PITCH": stem_pitch(stem),
        "GATHERS_PAIRS": int(gathers_pairs(stem)),
        "STEM_PANELS": stem_panels,
        "NUM_FEATURES": last.out_channels,
        "NUM_CLASSES": 0 if layers.classifier is None else len(layers.classifier.bias),
        "IS_MULTILABEL": int(layers.task == "multilabel"),
        "HAS_CLASS_NAMES": int(layers.class_names is not None and layers.classifier is not None),
        "HAS_ATTENTION": int(any(conv.attention is not None for conv in layers.convs)),
        "HAS_FEATURES": int(bool(layers.features)),
        "SHARED_BYTES": workspace.shared_bytes,
        **workspace.offsets,
    }
    more = f"(HAS_WASM_KERNELS ? {workspace.more_in_wasm} : 0)"
    texts = {
        "WIDE_WEIGHTS_BYTES": f"({workspace.wide_weights} + {more})",
        "THREAD_BYTES": f"({workspace.thread_bytes} + {more})",
    }
    floats = {"LAST_STEP": c_float(activations[last.output_name].step)}
    if layers.classifier is not None:
        floats["POOLED_STEP"] = c_float(activations["pooled"].step)
    return {name: str(value) for name, value in numbers.items()} | texts | floats


def _preprocessing(spec: InputSpec) -> str:
    """From a photo to the input, a sentence for the header."""
    if spec.fit == "letterbox":
        return (
            f"Resize the whole image to fit inside ({spec.interpolation}, antialiased), in the middle of a "
            f"border of the colour {spec.border}."
        )
    if isinstance(spec.resize_size, int):
        how = f"the short side to {spec.resize_size}"
    else:
        how = "to the least {} rows and {} columns that keep the shape".format(*spec.resize_size)
    return f"Resize {how} ({spec.interpolation}, antialiased), then cut the centre."


def _header(
    quantized: QuantizedNetwork,
    plan: NetworkPlan,
    workspace: Workspace,
    weight_bytes: int,
    symbols: CSymbols,
    title: str,
) -> str:
    layers, spec = quantized.layers, quantized.layers.input_spec
    channels = plan.stem.in_channels
    return Template(template("header.h")).substitute(
        title=title,
        weights_licence=(
            "that of whoever trained them"
            if layers.licence is None
            else f"another ({LICENCES[layers.licence]}), with which the code file begins"
        ),
        prefix=symbols.prefix,
        upper=symbols.prefix.upper(),
        visibility=symbols.attribute,
        height=plan.image[0],
        width=plan.image[1],
        channels=channels,
        order="RGB" if channels == 3 else "in the order that the network was trained with",
        preprocessing=_preprocessing(spec),
        num_outputs=_num_outputs(quantized, plan),
        maps=_maps(plan),
        num_features=layers.convs[-1].out_channels,
        map_height=plan.last.height,
        map_width=plan.last.width,
        output_kind=_output_kind(quantized),
        weight_bytes=weight_bytes,
        workspace_bytes=workspace.shared_bytes + workspace.thread_bytes,
        thread_bytes=workspace.thread_bytes,
        more_in_wasm=workspace.more_in_wasm,
    )


def _output_kind(quantized: QuantizedNetwork) -> str:
    if quantized.layers.features:
        return "values: feature maps (rows, columns, channels), one behind another"
    return "averages of the last map's channels" if quantized.layers.classifier is None else "logits"


def _given(plan: NetworkPlan) -> list[tuple[ConvLayer, MapSpec]]:
    return [(step.given, step.source) for step in plan.steps if step.given is not None]


def _num_outputs(quantized: QuantizedNetwork, plan: NetworkPlan) -> int:
    maps = _given(plan)
    if not maps:
        return quantized.layers.num_outputs
    return sum(spec.height * spec.width * conv.out_channels for conv, spec in maps)


def _maps(plan: NetworkPlan) -> str:
    """A line for each map that is an output."""
    lines, at = [], 0
    for conv, spec in _given(plan):
        shape = f"{spec.height} × {spec.width} × {conv.out_channels}"
        lines.append(f"\n *          {conv.name}: {shape} from value {at} on")
        at += spec.height * spec.width * conv.out_channels
    return "".join(lines)
