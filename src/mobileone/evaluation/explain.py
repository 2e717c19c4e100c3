"""Images with the places that speak for a class, as a picture."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mobileone.data.pixels import normalize, to_tensor
from mobileone.errors import ConfigError
from mobileone.evaluation.cam import class_activation_maps, logit_map
from mobileone.evaluation.pictures import short_name
from mobileone.imagenet import human_name, resolve_classes
from mobileone.images.any_image import AnyImage, as_image
from mobileone.images.eval_transform import EvalTransform
from mobileone.inference.classifier import usable_logits
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import as_network
from mobileone.report.figure import new_figure, require_png, save_figure

MAX_IMAGES = 24
OPACITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Where one image speaks for one class.

    Attributes:
        image: its name.
        pixels: what the network saw, uint8 (3, H, W).
        class_name: the class.
        probability: softmax, or of a multi-label network the label's own, in [0, 1].
        logit: what the map decomposes.
        heat: the map over the image, float32 (H, W), 0 where it is least and 1 where it is most.
    """

    image: str
    pixels: Tensor
    class_name: str
    probability: float
    logit: float
    heat: Tensor


def find_class(name: str, classes: Sequence[str]) -> int:
    """The index of a class by its folder name, a human name, or its number.

    Raises:
        ConfigError: on an unknown one, with the nearest known.

    >>> find_class("dog", ("cat", "dog")), find_class("tench", ("n01440764",)), find_class("0", ("a", "b"))
    (1, 0, 0)
    """
    known = {each: index for index, each in enumerate(classes)}
    for index, each in enumerate(classes):
        for human in human_name(each).split(", "):
            known.setdefault(human, index)
    if name in known:
        return known[name]
    if name.isdigit() and int(name) < len(classes):
        return int(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"the model has no class {name!r}{hint} ({classes[0]} … {classes[-1]})")


def explain(
    model: MobileOne, images: Sequence[AnyImage], *, topk: int = 3, class_name: str | None = None
) -> list[list[Explanation]]:
    """Class activation maps (arXiv 1512.04150) of images, a list an image, the likeliest class first.

    Args:
        model: in either form, on any device; put into eval mode.
        images: files, images already read, or pixels.
        topk: how many classes to explain for each image.
        class_name: explain this class alone.

    Raises:
        ConfigError: on an unknown class, or a model without a classifier.
        BadImageError: if a file cannot be decoded.
    """
    model = as_network(model, wanted="explain takes a MobileOne")
    if topk < 1:
        raise ConfigError(f"topk must be at least 1, got {topk}")
    classes = resolve_classes(model.num_classes, model.class_names)
    names = classes or tuple(str(index) for index in range(model.num_classes))
    wanted = None if class_name is None else find_class(class_name, names)
    transform, weight = EvalTransform.from_spec(model.input_spec), next(model.parameters())
    model.eval()
    rows = []
    for given in images:
        image = as_image(given)
        pixels = to_tensor(transform(image))
        batch = normalize(pixels[None].to(weight.device), model.input_spec, dtype=weight.dtype)
        maps, logits = class_activation_maps(model, batch)
        usable_logits(logits.float().cpu().numpy(), len(names))
        row = logits[0].float()
        probabilities = row.sigmoid() if model.task == "multilabel" else row.softmax(0)
        chosen = probabilities.topk(min(topk, len(names))).indices.tolist() if wanted is None else [wanted]
        rows.append(
            [
                Explanation(
                    image=image.name,
                    pixels=pixels,
                    class_name=names[index],
                    probability=float(probabilities[index]),
                    logit=float(logits[0, index]),
                    heat=logit_map(maps[0], index, (pixels.shape[-2], pixels.shape[-1])).cpu(),
                )
                for index in chosen
            ]
        )
    return rows


def draw_explanations(rows: Sequence[Sequence[Explanation]], path: str | Path) -> None:
    """A row an image: what the network saw, then the map of every class over it, as PNG.

    Args:
        rows: of `explain`; the first 24 are drawn.
        path: of the picture, ending in .png.

    Raises:
        ConfigError: if `path` does not end in .png.
        MissingExtraError: without matplotlib.
    """
    require_png(path)
    rows = rows[:MAX_IMAGES]
    columns = 1 + max(map(len, rows))
    figure = new_figure(2.6 * columns, 3.0 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for row, (first, *others) in zip(rows, grid, strict=True):
        first.imshow(row[0].pixels.permute(1, 2, 0).numpy())  # (C, H, W) → (H, W, C)
        first.set_title(_tail(row[0].image), fontsize=9)
        for explanation, axes in zip(row, others, strict=False):
            axes.imshow(explanation.pixels.float().mean(0).numpy(), cmap="gray", vmin=0, vmax=255)
            axes.imshow(explanation.heat.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=OPACITY)
            name = short_name(explanation.class_name)
            title = f"{name}\n{100 * explanation.probability:.1f} %, logit {explanation.logit:.1f}"
            axes.set_title(title, fontsize=9)
    save_figure(figure, path)


def _tail(name: str) -> str:
    """The end of a path, as much as fits over an image."""
    last = Path(name).name
    return last if len(last) <= 26 else "…" + last[-25:]
