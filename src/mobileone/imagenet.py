"""ImageNet's classes: wnids in class order and their names. Imports no torch.

The 1000 classes are those of ILSVRC 2012, in ascending order of wnid ("n" and the 8-digit offset of a noun
synset in WordNet 3.0). The names are the lemmas of that synset in WordNet 3.0's noun database (Princeton
University, https://wordnet.princeton.edu), in the database's order, underscores read as spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobileone.errors import ConfigError


def _read_table() -> dict[str, str]:
    text = Path(__file__).with_name("imagenet_classes.tsv").read_text(encoding="utf-8")
    return dict(line.split("\t", 1) for line in text.splitlines())


_NAMES = _read_table()

WNIDS: tuple[str, ...] = tuple(_NAMES)
"""The 1000 class folder names; the position is the class index of every published ImageNet-1k network."""


def human_name(class_name: str) -> str:
    """The lemmas of an ImageNet wnid, joined by commas; any other class name is returned as it is.

    >>> human_name("n01440764")
    'tench, Tinca tinca'
    >>> human_name("seven")
    'seven'
    """
    return _NAMES.get(class_name, class_name)


def resolve_classes(num_classes: int, class_names: Sequence[str] | None = None) -> tuple[str, ...] | None:
    """The class (folder) names of a network, as far as they are known.

    Args:
        num_classes: number of outputs.
        class_names: the names that the checkpoint carries, if it does.

    Raises:
        ConfigError: if there are more or fewer names than classes.

    Returns:
        `class_names` if given, the wnids for 1000 outputs, `None` otherwise: the labels then follow the
        data folder's own sorted class folders, and a prediction is named by its index.

    >>> resolve_classes(2, ["cat", "dog"])
    ('cat', 'dog')
    >>> resolve_classes(1000)[0], resolve_classes(7)
    ('n01440764', None)
    """
    if class_names is not None:
        if len(class_names) != num_classes:
            raise ConfigError(f"{len(class_names)} class names for a model of {num_classes} classes")
        return tuple(class_names)
    return WNIDS if num_classes == len(WNIDS) else None
