"""An int8 network as C: constants and a table of steps, between templates that are the same for every network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from string import Template

import numpy as np
from numpy.typing import NDArray

from mobileone import __version__
from mobileone.backends.c.c_text import byte_array, c_string, number_array, section, string_array
from mobileone.backends.c.integers import conv_scale, gate_scale, run_integers, zero_offset
from mobileone.backends.c.network_steps import (
    LINE,
    MapSpec,
    NetworkPlan,
    NetworkStep,
    plan_network,
    round_up,
    stem_groups,
)
from mobileone.backends.c.packing import (
    PackedLayer,
    PackedPanel,
    TileShape,
    pack_depthwise,
    pack_panels,
    safe_bias,
    tile_shape,
)
from mobileone.backends.layers import Conv
from mobileone.backends.quantized import Quantized
from mobileone.errors import ConfigError, ExportError
from mobileone.variants import Pair

DEFAULT_PREFIX = "mobileone_net"
TEST_ROW_BYTES = 13  # from one row of the self-test's image to the next
CLASSIFIER_GROUPS = 4  # the classifier's kernels take sixteen input channels at a time
C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "class namespace template this".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CSource:
    """Text of the two files.

    Attributes:
        code: of net.c.
        header: of net.h.
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
    quantized: Quantized,
    *,
    size: Pair | None = None,
    prefix: str = DEFAULT_PREFIX,
    visibility: str = "",
    header_name: str = "net.h",
    title: str = "MobileOne, int8",
) -> CSource:
    """The network as one C11 file and its header.

    Args:
        quantized: the network.
        size: (height, width) of the image; None is the input spec's.
        prefix: of all public names.
        visibility: what stands before the public functions, `static` for one.
        header_name: what the code includes.
        title: the files' first line.

    Raises:
        ConfigError: on a prefix that is no C identifier, or an image smaller than 32 pixels.
        ExportError: if a layer is none that the C kernels know, or a weight is not finite.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix) or prefix in C_KEYWORDS:
        raise ConfigError(f"the prefix must be a C identifier that starts with a letter, got {prefix!r}")
    side = quantized.layers.input_spec.size
    size = size or (side, side)
    if min(size) < 32:
        raise ConfigError(f"the C engine takes images of at least 32×32, got {size[0]}×{size[1]}")
    _check_finite(quantized)
    writer = _Writer(quantized, plan_network(quantized, size), prefix=prefix)
    return writer.source(visibility=visibility, header_name=header_name, title=title)


def _check_finite(quantized: Quantized) -> None:
    for name, weight in quantized.weights.items():
        if not np.isfinite(weight.scale).all():
            raise ExportError(f"{name} has NaN or infinite scales; calibrate the network again")
    for part in quantized.layers.parts():
        if not (np.isfinite(part.weight).all() and np.isfinite(part.bias).all()):
            raise ExportError(f"{part.name} has NaN or infinite weights; the model is no use")


def template(name: str) -> str:
    """The text of a file of templates/."""
    return (resources.files("mobileone.backends.c") / "templates" / name).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class KernelSet:
    """One instruction set's kernels.

    Attributes:
        name: as the C file calls it.
        family: whose tile sizes it has.
        vectors: the file of its vectors' operations.
        kernels: the files written in those, in order.
        guard: the macro that tells whether the compiler can.
        values: what the vectors' file leaves open.
    """

    name: str
    family: str
    vectors: str
    kernels: tuple[str, ...]
    guard: str
    values: Mapping[str, str] = field(default_factory=dict)

    def text(self, shapes: list[TileShape]) -> str:
        """Its part of the C file: operations, kernels, and a table of them."""
        vectors = template(self.vectors)
        if self.values:
            vectors = Template(vectors).substitute(self.values)
        parts = [vectors, *(template(kernel) for kernel in self.kernels)]
        instances, table = [], []
        for shape in shapes:
            size = dict(shape.pixels)[self.family]
            function = f"V_pointwise_{shape.pitch}_{size}_{shape.vectors}"
            table.append(function)
            instance = (
                f"V_KERNEL void {function}(const uint8_t *strip, int pixels, const panel *p, int begin, int end,\n"
                f"    cursor out, uint8_t *scratch) {{\n"
                f"  V_pointwise(strip, pixels, p, begin, end, out, scratch, {shape.pitch}, {size}, {shape.vectors});\n"
                "}\n"
            )
            if instance not in instances:
                instances.append(instance)
        parts += instances
        parts.append(
            "static void (*const V_pointwise_table[])(const uint8_t *, int, const panel *, int, int, cursor, "
            "uint8_t *) = {\n    " + ",\n    ".join(table) + "};\n"
            f'static const kernels V_kernels = {{"{self.name}", V_is_supported, V_SIGNED, '
            "{V_depthwise_1, V_depthwise_2}, V_pointwise_table,\n"
            "    V_add_pixels, V_gate_pixels, V_classify};\n#undef V_TARGET\n#undef V_INLINE\n#undef V_KERNEL\n#undef V_dot_lane\n"
        )
        text = re.sub(r"\bV_", f"{self.name}_", "\n".join(parts))
        return f"#if {self.guard}\n{text}#endif\n"


_X86, _ARM = "HAS_X86_KERNELS", "HAS_ARM_KERNELS"
_SHARED = ("depthwise.c", "elementwise.c")
_DOTPROD = """/* The instruction takes signed bytes only, so activations are read less 128, and biases make up for it. */
V_INLINE V_bytes V_as_bytes(uint8x16_t values) { return vreinterpretq_s8_u8(veorq_u8(values, vdupq_n_u8(128))); }
V_INLINE V_ints V_dot(V_ints sums, V_bytes bytes, int8x16_t weights) { return vdotq_s32(sums, weights, bytes); }
#define V_dot_lane(sums, weights, bytes, lane) vdotq_laneq_s32(sums, weights, bytes, lane)"""
_I8MM = """V_INLINE V_bytes V_as_bytes(uint8x16_t values) { return values; }
V_INLINE V_ints V_dot(V_ints sums, V_bytes bytes, int8x16_t weights) { return vusdotq_s32(sums, bytes, weights); }
#define V_dot_lane(sums, weights, bytes, lane) vsudotq_laneq_s32(sums, weights, bytes, lane)"""
KERNEL_SETS = (
    KernelSet("avx512vnni", "avx512vnni", "vectors_avx512vnni.c", ("pointwise.c", *_SHARED), _X86),
    KernelSet("avxvnni", "avxvnni", "vectors_avxvnni.c", ("pointwise.c", *_SHARED), _X86),
    KernelSet("avx2", "avx2", "vectors_avx2.c", ("pointwise.c", *_SHARED), _X86),
    KernelSet(
        "i8mm",
        "neon",
        "vectors_neon.c",
        ("pointwise_neon.c", *_SHARED),
        _ARM,
        {"title": "mixed dot products", "extension": "i8mm", "signed": "0", "values": "uint8x16_t", "operations": _I8MM},
    ),
    KernelSet(
        "dotprod",
        "neon",
        "vectors_neon.c",
        ("pointwise_neon.c", *_SHARED),
        _ARM,
        {
            "title": "signed dot products",
            "extension": "dotprod",
            "signed": "1",
            "values": "int8x16_t",
            "operations": _DOTPROD,
        },
    ),
)


class _Writer:
    """Collects constants and tables while it walks over the steps."""

    def __init__(self, quantized: Quantized, plan: NetworkPlan, *, prefix: str) -> None:
        self.quantized, self.plan, self.prefix = quantized, plan, prefix
        self.constants: list[str] = []
        self.tables: list[str] = []
        self.shapes: list[TileShape] = []
        self.maps: list[MapSpec] = []
        self.weight_bytes = 0
        self.sources = self._sources()

    def _sources(self) -> dict[str, str]:
        """By a convolution's name, the name of the activation that it reads."""
        names, before = {}, "image"
        for conv in self.quantized.layers.convs:
            names[conv.name] = before
            before = conv.name if conv.attention is None else f"{conv.name}.attn"
        return names

    def source(self, *, visibility: str, header_name: str, title: str) -> CSource:
        quantized, plan = self.quantized, self.plan
        layers = quantized.layers
        stem_panels = self._stem()
        steps = [self._step(index, step) for index, step in enumerate(plan.steps)]
        sizes = self._memory()
        digest, test_bytes = self._self_test()
        classifier = layers.classifier
        defines = {
            "IMAGE_HEIGHT": plan.image[0],
            "IMAGE_WIDTH": plan.image[1],
            "IMAGE_CHANNELS": plan.stem.in_channels,
            "STEM_KERNEL_H": plan.stem.weight.shape[2],
            "STEM_KERNEL_W": plan.stem.weight.shape[3],
            "STEM_STRIDE_H": plan.stem.stride[0],
            "STEM_STRIDE_W": plan.stem.stride[1],
            "STEM_PADDING_H": plan.stem.padding[0],
            "STEM_PADDING_W": plan.stem.padding[1],
            "STEM_WIDTH": plan.stem_size[1],
            "STEM_PITCH": 4 * stem_groups(plan.stem),
            "STEM_PANELS": stem_panels,
            "NUM_FEATURES": layers.convs[-1].out_channels,
            "NUM_CLASSES": 0 if classifier is None else len(classifier.bias),
            "HAS_CLASS_NAMES": int(layers.class_names is not None and classifier is not None),
            "HAS_ATTENTION": int(any(conv.attention is not None for conv in layers.convs)),
            **sizes,
            "TEST_IMAGE_BYTES": test_bytes,
            "TEST_HASH": f"0x{digest:08X}u",
        }
        workspace = sizes["SHARED_BYTES"] + sizes["THREAD_BYTES"]
        upper = self.prefix.upper()
        version = f"mobileone {__version__}, {title}"
        last = self._last_affine_step()
        floats = f"#define LAST_STEP {_single(last)}\n"
        if classifier is not None:
            floats += f"#define POOLED_STEP {_single(quantized.activations['pooled'].step)}\n"
        parts = [
            f"/* {title}. Made by mobileone {__version__}; see {header_name} for how it is used. */\n",
            Template(template("preamble.c")).substitute(header=header_name),
            "\n".join(f"#define {name} {value}" for name, value in defines.items()),
            floats + f"#define VERSION_TEXT {c_string(version)}\n",
            template("types.c"),
            template("plain.c"),
            template("processor.c"),
            *(each.text(self.shapes) for each in KERNEL_SETS),
            self._plain_table(),
            section("Constants: weights as the kernels read them"),
            *self.constants,
            template("engine_types.c"),
            section("Maps, layers and steps"),
            *self._map_table(),
            *self.tables,
            "static const step steps[] = {\n" + ",\n".join(steps) + "};\n",
            template("engine.c"),
            template("run.c"),
            template("threads.c"),
            template("api.c"),
        ]
        code = "\n".join(parts)
        code = code.replace("PREFIX_UPPER", upper).replace("PREFIX", self.prefix)
        spec = layers.input_spec
        header = Template(template("header.h")).substitute(
            title=title,
            prefix=self.prefix,
            upper=upper,
            visibility=visibility,
            height=plan.image[0],
            width=plan.image[1],
            channels=plan.stem.in_channels,
            order="RGB" if plan.stem.in_channels == 3 else "as the network was trained",
            preprocessing=f"Resize the short side to {round(spec.size / spec.crop)} ({spec.interpolation}, antialiased), "
            f"cut the centre {plan.image[0]} × {plan.image[1]}.",
            num_outputs=layers.num_outputs,
            output_kind="logits" if classifier is not None else "averages of the last map's channels",
            weight_bytes=self.weight_bytes,
            workspace_bytes=workspace,
            thread_bytes=sizes["THREAD_BYTES"],
            licence="The code is under mobileone's licence (MIT); the weights under that of whoever trained them.",
        )
        return CSource(
            code=code,
            header=header,
            weight_bytes=self.weight_bytes,
            workspace_bytes=workspace,
            thread_bytes=sizes["THREAD_BYTES"],
        )

    # ---- layers ----

    def _stem(self) -> int:
        stem = self.plan.stem
        weight = self.quantized.weights[stem.name]
        rows = weight.values.transpose(0, 2, 3, 1).reshape(stem.out_channels, -1)  # (out, ky · kx · channel)
        count = self._panels(
            "stem", stem, rows, groups=stem_groups(stem), pitch=4 * stem_groups(stem), pixels=self.plan.stem_size[1]
        )
        line = np.tile(self.quantized.border, self.plan.image[1])
        self._note("border_row", byte_array("border_row", line, kind="uint8_t"), len(line))
        return count

    def _panels(self, name: str, conv: Conv, rows: NDArray[np.int8], *, groups: int, pitch: int, pixels: int) -> int:
        activations, weight = self.quantized.activations, self.quantized.weights[conv.name]
        assert weight.bias is not None
        output = activations[conv.name]
        scale = conv_scale(weight, activations[self.sources[conv.name]], output)
        bias = safe_bias(conv.name, weight.values, weight.bias, scale)
        panels = pack_panels(rows, bias, scale, groups=groups)
        self._panel_table(name, conv.name, panels, pitch=pitch, pixels=pixels, offset=zero_offset(output))
        return len(panels)

    def _panel_table(
        self, name: str, what: str, panels: list[PackedPanel], *, pitch: int, pixels: int, offset: int
    ) -> None:
        lines = []
        for index, panel in enumerate(panels):
            constants = self._layer(f"{name}_{index}", what, panel.layer)
            shape = self._shape(tile_shape(pitch, panel.vectors, pixels)) if pixels else 0
            lines.append(
                f"  {{{constants}, {offset}, {panel.groups}, {panel.vectors}, {panel.blocks}, {panel.channel}, "
                f"{shape}, {pitch}}}"
            )
        self.tables.append(f"static const panel {name}_panels[] = {{\n" + ",\n".join(lines) + "};")

    def _layer(self, name: str, what: str, layer: PackedLayer) -> str:
        """Writes its arrays; the initialiser that points to them."""
        self.weight_bytes += layer.weights.nbytes + layer.bias.nbytes + layer.scale.nbytes
        self.constants += [
            f"/* {what} */",
            byte_array(f"{name}_weights", layer.weights),
            number_array(f"{name}_bias", layer.bias),
            "#if HAS_ARM_KERNELS",
            number_array(f"{name}_signed_bias", layer.signed_bias),
            "#else",
            f"#define {name}_signed_bias {name}_bias",
            "#endif",
            number_array(f"{name}_scale", layer.scale),
        ]
        return f"{name}_weights, {{{name}_bias, {name}_signed_bias}}, {name}_scale"

    def _shape(self, shape: TileShape) -> int:
        if shape not in self.shapes:
            self.shapes.append(shape)
        return self.shapes.index(shape)

    def _filters(self, name: str, conv: Conv) -> None:
        activations, weight = self.quantized.activations, self.quantized.weights[conv.name]
        assert weight.bias is not None
        output = activations[conv.name]
        scale = conv_scale(weight, activations[self.sources[conv.name]], output)
        bias = safe_bias(conv.name, weight.values, weight.bias, scale)
        layer = pack_depthwise(weight.values, bias, scale, stride=conv.stride[0])
        constants = self._layer(name, conv.name, layer)
        blocks = len(layer.bias) // 64
        self.tables.append(f"static const filters {name}_filters = {{{constants}, {zero_offset(output)}, {blocks}}};")

    def _attention(self, name: str, conv: Conv) -> None:
        attention, activations = conv.attention, self.quantized.activations
        assert attention is not None
        source, output = activations[conv.name], activations[f"{conv.name}.attn"]
        reduce, expand = attention.reduce, attention.expand
        self.constants.append(f"/* attention of {conv.name} */")
        for part, values in (
            ("reduce", reduce.weight.T),
            ("reduce_bias", reduce.bias),
            ("expand", expand.weight.T),
            ("expand_bias", expand.bias),
        ):
            array = np.ascontiguousarray(values, np.float32)
            self._note(part, number_array(f"{name}_{part}", array), array.nbytes)
        self.tables.append(
            f"static const attention {name}_attention = {{{name}_reduce, {name}_reduce_bias, {name}_expand, "
            f"{name}_expand_bias, {conv.out_channels}, {len(reduce.bias)}, {_single(source.step)}, "
            f"{_single(float(gate_scale(source, output)))}, {zero_offset(source)}, {zero_offset(output)}}};"
        )

    def _note(self, what: str, text: str, num_bytes: int) -> None:
        del what
        self.constants.append(text)
        self.weight_bytes += num_bytes

    # ---- steps ----

    def _step(self, index: int, step: NetworkStep) -> str:
        name, depthwise, stride = f"step{index}", "NULL", 1
        panels, count, attention = "NULL", 0, "NULL"
        if step.depthwise is not None:
            self._filters(f"{name}_depthwise", step.depthwise)
            depthwise, stride = f"&{name}_depthwise_filters", step.depthwise.stride[0]
        if step.pointwise is not None:
            conv = step.pointwise
            pitch = step.source.pixel if step.depthwise is None else round_up(conv.in_channels, 64)
            count = self._panels(
                name,
                conv,
                self.quantized.weights[conv.name].values[:, :, 0, 0],
                groups=round_up(conv.in_channels, 4) // 4,
                pitch=pitch,
                pixels=(step.rows or step.target.height) * step.target.width,
            )
            panels = f"{name}_panels"
        if step.attention is not None:
            if step.kind == "AVERAGE":
                self._attention(name, step.attention)
                self._gates = name
            attention = f"&{self._gates}_attention"
        if step.kind == "CLASSIFY":
            count = self._classifier()
            panels = "classifier_panels"
        what = ", ".join(
            each.name for each in (step.depthwise, step.pointwise, step.attention) if each is not None
        )
        source, target = self._map(step.source), self._map(step.target)
        return (
            f"  /* {index}: {what or step.kind.lower()}, {step.source.height} × {step.source.width} to "
            f"{step.target.height} × {step.target.width} */\n"
            f"  {{{step.kind}, &maps[{source}], &maps[{target}], {depthwise}, {stride}, {panels}, {count}, "
            f"{attention}, {step.rows}}}"
        )

    def _classifier(self) -> int:
        classifier = self.quantized.layers.classifier
        assert classifier is not None
        weight = self.quantized.weights[classifier.name]
        out, inputs = weight.values.shape
        groups = round_up(round_up(inputs, 4) // 4, CLASSIFIER_GROUPS)
        panels = pack_panels(weight.values, np.zeros(out, np.int32), np.zeros(out, np.float32), groups=groups)
        self._panel_table("classifier", classifier.name, panels, pitch=4 * groups, pixels=0, offset=0)
        step = np.float32(self.quantized.activations["pooled"].step)
        for name, values in (("scale", weight.scale * step), ("bias", classifier.bias)):
            array = np.asarray(values, np.float32)
            self._note(name, number_array(f"classifier_{name}", array), array.nbytes)
        return len(panels)

    def _map(self, spec: MapSpec) -> int:
        if spec not in self.maps:
            self.maps.append(spec)
        return self.maps.index(spec)

    def _map_table(self) -> list[str]:
        at, offsets = 0, {"stem": 0}
        for slot, size in self.plan.slots.items():
            offsets[slot] = at
            at += size
        lines = [
            f"  {{{offsets[spec.slot]}, {spec.height}, {spec.width}, {spec.pixel}, {spec.border}}}"
            for spec in self.maps
        ]
        return ["static const layout maps[] = {\n" + ",\n".join(lines) + "};"]

    # ---- memory, self-test ----

    def _memory(self) -> dict[str, int]:
        """Offsets in the workspace: what threads share, and what each has of its own."""
        plan, layers = self.plan, self.quantized.layers
        features = round_up(layers.convs[-1].out_channels, LINE)
        widest = max(spec.pixel for spec in self.maps)
        hidden = max(
            (
                round_up(conv.out_channels, LINE) + len(conv.attention.reduce.bias)
                for conv in layers.convs
                if conv.attention is not None
            ),
            default=0,
        )
        outputs = round_up(layers.num_outputs, 48)
        shared = {
            "SUMS_AT": 4 * round_up(widest, LINE),
            "GATES_AT": 4 * round_up(widest, LINE) if hidden else 0,
            "HIDDEN_AT": 8 * hidden,
            "FEATURES_AT": features,
            "CLASS_SUMS_AT": 4 * (outputs + 48),
            "TEST_IMAGE_AT": self._test_bytes(),
        }
        sizes, at = {}, sum(plan.slots.values())
        for name, size in shared.items():
            sizes[name] = at
            at += round_up(size, LINE)
        sizes["SHARED_BYTES"], at = at, LINE
        pixels = max(step.source.height * step.source.width for step in plan.steps if step.kind in ("PANELS", "POOL"))
        late = max(
            [plan.wide_values]
            + [(pixels + 16) * step.source.pixel for step in plan.steps if step.kind == "PANELS"]
            + [features]
        )
        for name, size in (
            ("STRIP_AT", plan.strip_bytes),
            ("STEM_AT", plan.stem_bytes),
            ("SCRATCH_AT", LINE + 2 * late),
        ):
            sizes[name] = at
            at += round_up(size, LINE)
        return sizes | {"THREAD_BYTES": at, "FEATURE_BYTES": features}

    def _test_bytes(self) -> int:
        height, width = self.plan.image
        return width * self.plan.stem.in_channels + TEST_ROW_BYTES * (height - 1)

    def _self_test(self) -> tuple[int, int]:
        """The digest of the integers of the self-test's image, and that image's bytes."""
        height, width = self.plan.image
        channels = self.plan.stem.in_channels
        values, state = np.empty(self._test_bytes(), np.uint8), 1
        for i in range(len(values)):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            values[i] = state >> 24
        image = np.lib.stride_tricks.as_strided(
            values, (height, width, channels), (TEST_ROW_BYTES, channels, 1), writeable=False
        )
        return run_integers(self.quantized, image).digest, len(values)

    def _last_affine_step(self) -> float:
        last = self.quantized.layers.convs[-1]
        name = last.name if last.attention is None else f"{last.name}.attn"
        return self.quantized.activations[name].step

    def _plain_table(self) -> str:
        functions = ", ".join(["plain_pointwise"] * len(self.shapes))
        names = [f"&{each.name}_kernels" for each in KERNEL_SETS if each.guard == "HAS_X86_KERNELS"]
        arm = [f"&{each.name}_kernels" for each in KERNEL_SETS if each.guard == "HAS_ARM_KERNELS"]
        return (
            "static void (*const plain_pointwise_table[])(const uint8_t *, int, const panel *, int, int, cursor, "
            f"uint8_t *) = {{{functions}}};\n"
            'static const kernels plain_kernels = {"plain", plain_is_supported, 0, {plain_depthwise_1, '
            "plain_depthwise_2}, plain_pointwise_table,\n"
            "    plain_add_pixels, plain_gate_pixels, plain_classify};\n\n"
            "#if HAS_X86_KERNELS\n#define ALL_KERNELS " + ", ".join([*names, "&plain_kernels"]) + "\n"
            "#elif HAS_ARM_KERNELS\n#define ALL_KERNELS " + ", ".join([*arm, "&plain_kernels"]) + "\n"
            "#else\n#define ALL_KERNELS &plain_kernels\n#endif\n"
        )


def _single(value: float) -> str:
    return f"{np.float32(value):.9g}f" if "." in f"{np.float32(value):.9g}" or "e" in f"{value:.9g}" else f"{value:.1f}f"
