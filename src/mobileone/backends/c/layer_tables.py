"""The layers of a network as C: arrays of constants, and the tables that point to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.c.c_text import byte_array, c_float, number_array
from mobileone.backends.c.integers import conv_scale, feature_scale, gate_scale, zero_offset
from mobileone.backends.c.network_steps import (
    DEPTHWISE_BLOCK,
    MapSpec,
    NetworkStep,
    round_up,
    stem_groups,
    stem_pitch,
)
from mobileone.backends.c.packing import (
    UINT8_MAX,
    PackedLayer,
    PackedPanel,
    TileShape,
    can_lift,
    falls_low,
    pack_depthwise,
    pack_panels,
    safe_bias,
    settle_constants,
    tile_shape,
)
from mobileone.backends.c.pair_order import pair_orders
from mobileone.backends.fused_layers import ConvLayer
from mobileone.backends.quantized_network import QuantizedNetwork

DENSE_OUTPUTS = 8  # an attention's kernels compute so many outputs at a time
READ_BEYOND = 16  # pixels behind a row's end that the first convolution may read and throw away
CLASSIFIER_GROUPS = 4  # the classifier's kernels take four groups of input channels at a time


class LayerTables:
    """Collects what the layers need while they are asked for.

    Args:
        quantized: the network.

    Attributes:
        constants: arrays, one text each.
        tables: that point to them.
        shapes: of pointwise kernels, in the order of their numbers.
        maps: in the order of their numbers.
        weight_bytes: of all arrays that a processor's kernels read.
        has_plain_sums: whether a layer has sums that cannot be lifted; see `packing.can_lift`.
        has_low_sums: whether one has sums that stand for very little; see `packing.falls_low`.
        group_bytes: that the number of a group of four input channels takes.
        given_values: floats of all maps that are outputs, so far.
    """

    def __init__(self, quantized: QuantizedNetwork) -> None:
        self.quantized = quantized
        self.constants: list[str] = []
        self.tables: list[str] = []
        self.shapes: list[TileShape] = []
        self.maps: list[MapSpec] = []
        self.weight_bytes = self.given_values = 0
        groups = max(-(-conv.weight[0].size // 4) for conv in quantized.layers.convs)
        self.group_bytes = 1 if groups <= UINT8_MAX else 2
        self.has_plain_sums = self.has_low_sums = False
        self._attention = ""
        self._sources, before = {}, "image"
        for conv in quantized.layers.convs:
            self._sources[conv.name] = before
            before = conv.output_name

    def stem(self, conv: ConvLayer, *, image_width: int, width: int) -> int:
        """The first convolution, as a matrix product over gathered pixels; how many panels it has."""
        weight = self.quantized.weights[conv.name]
        rows = weight.values.transpose(0, 2, 3, 1).reshape(conv.out_channels, -1)  # (out, ky · kx · channel)
        groups = stem_groups(conv)
        count = self._pointwise("stem", conv, rows, groups=groups, pitch=stem_pitch(conv), pixels=width)
        line = np.tile(self.quantized.border, image_width + READ_BEYOND)
        self._constant(byte_array("border_row", line, kind="uint8_t"), line.nbytes)
        return count

    def step(self, index: int, step: NetworkStep) -> str:
        """The initialiser of a step."""
        name, depthwise, stride = f"step{index}", "NULL", 1
        panels, count, attention = "NULL", 0, "NULL"
        if step.depthwise is not None:
            self._depthwise(name, step.depthwise)
            depthwise, stride = f"&{name}_filters", step.depthwise.stride[0]
        if step.pointwise is not None:
            conv = step.pointwise
            count = self._pointwise(
                name,
                conv,
                self.quantized.weights[conv.name].values[:, :, 0, 0],
                groups=round_up(conv.in_channels, 4) // 4,
                pitch=round_up(conv.in_channels, DEPTHWISE_BLOCK),
                pixels=(step.rows or step.target.height) * step.target.width,
                width=step.target.width if step.target.border else 0,
            )
            panels = f"{name}_panels"
        if step.attention is not None:
            if step.kind == "SUM":
                self._gates(name, step.attention)
            attention = f"&{self._attention}_attention"
        given = "NULL, 0, 0"
        if step.given is not None:
            channels = step.given.out_channels
            self._map_scale(f"{name}_map_scale", step.given)
            given = f"{name}_map_scale, {channels}, {self.given_values}"
            self.given_values += step.source.height * step.source.width * channels
        if step.kind == "CLASSIFY":
            panels, count = "classifier_panels", self._classifier()
        parts = (step.depthwise, step.pointwise, step.attention, step.given)
        convs = [each.name for each in parts if each is not None]
        source, target = step.source, step.target
        return (
            f"  /* {index}: {', '.join(convs) or 'head'}: "
            f"{source.height} × {source.width} to {target.height} × {target.width} */\n"
            f"  {{{step.kind}, &maps[{self._map(source)}], &maps[{self._map(target)}], "
            f"{depthwise}, {stride}, {panels}, {count}, {attention}, {step.rows}, {int(step.clears)}, "
            f"{given}}}"
        )

    def map_table(self, slots: dict[str, int]) -> str:
        """The maps of all steps, in buffers that start at these offsets."""
        lines = [f"  {{{slots[m.slot]}, {m.height}, {m.width}, {m.pixel}, {m.border}}}" for m in self.maps]
        return "static const layout maps[] = {\n" + ",\n".join(lines) + "};\n"

    def features(self) -> None:
        """What a byte of each channel of the last map stands for."""
        self._map_scale("feature_scale", self.quantized.layers.convs[-1])

    def _map_scale(self, name: str, conv: ConvLayer) -> None:
        array = feature_scale(self.quantized, conv)
        self._constant(number_array(name, array), array.nbytes)

    def _map(self, spec: MapSpec) -> int:
        if spec not in self.maps:
            self.maps.append(spec)
        return self.maps.index(spec)

    def _constant(self, text: str, num_bytes: int) -> None:
        self.constants.append(text)
        self.weight_bytes += num_bytes

    def _scale(self, conv: ConvLayer) -> NDArray[np.float32]:
        activations = self.quantized.activations
        source = activations[self._sources[conv.name]]
        return conv_scale(self.quantized.weights[conv.name], source, activations[conv.name])

    def _bias(self, conv: ConvLayer, scale: NDArray[np.float32]) -> NDArray[np.int32]:
        weight = self.quantized.weights[conv.name]
        assert weight.bias is not None
        return safe_bias(conv.name, weight.values, weight.bias, scale)

    def _note_sums(
        self, rows: NDArray[np.int8], bias: NDArray[np.int32], scale: NDArray[np.float32], offset: int
    ) -> bool:
        """Whether a matrix's sums can be lifted; what the C file says of all layers follows from each."""
        is_lifted = not offset and can_lift(rows, bias, scale)
        self.has_plain_sums |= not is_lifted
        self.has_low_sums |= falls_low(rows, bias, scale)
        return is_lifted

    def _offset(self, conv: ConvLayer) -> int:
        return zero_offset(self.quantized.activations[conv.name])

    def _pointwise(
        self,
        name: str,
        conv: ConvLayer,
        rows: NDArray[np.int8],
        *,
        groups: int,
        pitch: int,
        pixels: int,
        width: int = 0,
    ) -> int:
        scale, offset = self._scale(conv), self._offset(conv)
        bias, scale = settle_constants(rows, self._bias(conv, scale), scale)
        panels = pack_panels(rows, bias, scale, groups=groups)
        is_lifted = self._note_sums(rows, bias, scale, offset)
        self._panels(
            name,
            conv.name,
            panels,
            pitch=pitch,
            pixels=pixels,
            width=width,
            start=f"{offset}, {int(is_lifted)}",
        )
        return len(panels)

    def _panels(
        self,
        name: str,
        what: str,
        panels: list[PackedPanel],
        *,
        pitch: int,
        pixels: int,
        width: int,
        start: str = "0, 0",
    ) -> None:
        lines = []
        for index, panel in enumerate(panels):
            constants = self._layer(f"{name}_{index}", what, panel.layer)
            shape, order = 0, "NULL"  # the classifier has a kernel of its own
            if pixels:
                tiles = tile_shape(pitch, panel.vectors, pixels, groups=panel.groups, width=width)
                shape, order = self._shape(tiles), self._order(f"{name}_{index}", panel)
            lines.append(
                f"  {{{constants}, {order}, {start}, {panel.groups}, {panel.vectors}, {panel.blocks}, "
                f"{panel.channel}, {shape}, {pitch}}}"
            )
        self.tables.append(f"static const panel {name}_panels[] = {{\n" + ",\n".join(lines) + "};")

    def _order(self, name: str, panel: PackedPanel) -> str:
        """In which a processor without dot products of bytes takes the groups of input channels."""
        orders = pair_orders(panel)
        text = number_array(f"{name}_order", orders, kind="group_number")
        uses = "#if HAS_X86_KERNELS || HAS_RELAXED_KERNELS"
        self._constant(
            f"{uses}\n{text}\n#else\n#define {name}_order NULL\n#endif", orders.size * self.group_bytes
        )
        return f"{name}_order"

    def _shape(self, shape: TileShape) -> int:
        if shape not in self.shapes:
            self.shapes.append(shape)
        return self.shapes.index(shape)

    def _layer(self, name: str, what: str, layer: PackedLayer) -> str:
        """Its arrays; the initialiser that points to them."""
        signed = number_array(f"{name}_signed_bias", layer.signed_bias)
        self.constants.append(f"/* {what} */")
        self._constant(byte_array(f"{name}_weights", layer.weights), layer.weights.nbytes)
        self._constant(number_array(f"{name}_bias", layer.bias), layer.bias.nbytes)
        self._constant(number_array(f"{name}_scale", layer.scale), layer.scale.nbytes)
        self.constants.append(
            f"#if HAS_ARM_KERNELS || HAS_RELAXED_KERNELS\n{signed}\n"
            f"#else\n#define {name}_signed_bias {name}_bias\n#endif"
        )
        return f"{name}_weights, {{{name}_bias, {name}_signed_bias}}, {name}_scale"

    def _depthwise(self, name: str, conv: ConvLayer) -> None:
        weight, scale, offset = self.quantized.weights[conv.name], self._scale(conv), self._offset(conv)
        rows = weight.values.reshape(conv.in_channels, -1)
        bias, scale = settle_constants(rows, self._bias(conv, scale), scale)
        layer = pack_depthwise(weight.values, bias, scale, stride=conv.stride[0])
        is_lifted = self._note_sums(rows, bias, scale, offset)
        constants = self._layer(f"{name}_depthwise", conv.name, layer)
        blocks = len(layer.bias) // DEPTHWISE_BLOCK
        self.tables.append(
            f"static const filters {name}_filters = {{{constants}, {offset}, {int(is_lifted)}, {blocks}}};"
        )

    def _gates(self, name: str, conv: ConvLayer) -> None:
        attention, activations = conv.attention, self.quantized.activations
        assert attention is not None
        source, output = activations[conv.name], activations[f"{conv.name}.attn"]
        self.constants.append(f"/* attention of {conv.name} */")
        for part, values in (
            ("reduce", attention.reduce.weight.T),
            ("reduce_bias", attention.reduce.bias),
            ("expand", attention.expand.weight.T),
            ("expand_bias", attention.expand.bias),
        ):
            padding = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % DENSE_OUTPUTS)]
            array = np.pad(values.astype(np.float32), padding)
            self._constant(number_array(f"{name}_{part}", array), array.nbytes)
        self._attention = name
        hidden = len(attention.reduce.bias)
        self.tables.append(
            f"static const attention {name}_attention = {{{name}_reduce, {name}_reduce_bias, {name}_expand, "
            f"{name}_expand_bias,\n  {conv.out_channels}, {hidden}, "
            f"{round_up(conv.out_channels, DENSE_OUTPUTS)}, {round_up(hidden, DENSE_OUTPUTS)}, "
            f"{c_float(source.step)}, {c_float(float(gate_scale(source, output)))}, "
            f"{zero_offset(source)}, {zero_offset(output)}}};"
        )

    def _classifier(self) -> int:
        classifier = self.quantized.layers.classifier
        assert classifier is not None
        weight = self.quantized.weights[classifier.name]
        out, inputs = weight.values.shape
        groups = round_up(round_up(inputs, 4) // 4, CLASSIFIER_GROUPS)
        zeros = np.zeros(out, np.int32)
        panels = pack_panels(weight.values, zeros, zeros.astype(np.float32), groups=groups)
        self._panels("classifier", classifier.name, panels, pitch=4 * groups, pixels=0, width=0)
        step = np.float32(self.quantized.activations["pooled"].step)
        for name, values in (("scale", weight.scale * step), ("bias", classifier.bias)):
            array = np.asarray(values, np.float32)
            self._constant(number_array(f"classifier_{name}", array), array.nbytes)
        return len(panels)
