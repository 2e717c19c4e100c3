"""Parts of a network that training leaves as they are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from mobileone.errors import ConfigError


def freeze_(model: nn.Module, names: Sequence[str]) -> None:
    """Take gradients off the named modules and everything in them, in place.

    Their BatchNorms must not see the batches either: call `.eval()` on them after every `model.train()`.

    Args:
        model: the network.
        names: of its modules: `stem`, `stages.0`, `stages.2.5`, `head` …

    Raises:
        ConfigError: on a name that is no module's, with the nearest that is.

    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> freeze_(model, ["0"])
    >>> [p.requires_grad for p in model.parameters()]
    [False, False, True, True]
    """
    modules = dict(model.named_modules())
    for name in names:
        if not name or name not in modules:
            near = difflib.get_close_matches(name, modules, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"freeze: the network has no module {name!r}{hint} (stem, stages, stages.0 …, head)"
            )
        modules[name].requires_grad_(False)
