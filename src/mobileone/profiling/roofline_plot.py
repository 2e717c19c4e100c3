"""The roofline as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mobileone.errors import ConfigError
from mobileone.profiling.profile_charts import roofline_rows, roofs
from mobileone.profiling.profile_result import ProfileResult
from mobileone.report.figure import new_figure, save_figure

COLORS = {"arithmetic": "#2463c4", "memory": "#b8510b"}
MARKERS = {"arithmetic": "o", "memory": "s"}


def write_roofline(profiles: Sequence[ProfileResult], path: str | os.PathLike[str]) -> Path:
    """Write the roofline plot of one profile, or of several side by side, as PNG; the path.

    Args:
        profiles: each with its machine's ceilings.
        path: the file to write.

    Raises:
        ConfigError: if a profile has no ceilings or nothing to draw.
        MissingExtraError: without matplotlib.
    """
    figure = new_figure(8 * len(profiles), 5.4, dpi=150)
    from matplotlib.collections import PathCollection

    shared = figure.subplots(1, len(profiles), sharex=True, sharey=True, squeeze=False)
    for axes, profile in zip(shared[0], profiles, strict=True):
        rows, machine = roofline_rows(profile), profile.machine
        if machine is None:
            raise ConfigError(f"the profile of {profile.name} has no ceilings; profile it with roofline=True")
        if not rows:
            raise ConfigError(f"{profile.name} has no layer with multiply-accumulates: no roofline to draw")
        for limit in ("arithmetic", "memory"):
            chosen = [row for row in rows if row.limit == limit]
            axes.scatter(
                [row.intensity for row in chosen],
                [row.gflops for row in chosen],
                s=[20 + 900 * (row.share or 0.0) for row in chosen],
                color=COLORS[limit],
                marker=MARKERS[limit],
                alpha=0.75,
                edgecolors="white",
                linewidths=0.6,
                label=f"layer bound by {limit}",
            )
        ends = [f((row.intensity or 1.0) for row in rows) for f in (min, max)]
        ends = [ends[0] / 2, ends[1] * 2]
        for name, bandwidth, far in roofs(machine):
            knee = min(max(machine.peak_gflops / bandwidth, ends[0]), ends[1])
            xs = [ends[0], knee, ends[1]]
            ys = [min(x * bandwidth, machine.peak_gflops) for x in xs]
            style = "--" if far else "-"
            axes.plot(xs, ys, style, color="#333", linewidth=1.3, label=f"{name}: {bandwidth:.3g} GB/s")
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.set_xlabel("FLOP a byte moved")
        axes.set_ylabel("GFLOP/s, measured")
        axes.set_title(
            f"{profile.name}: peak {machine.peak_gflops:.4g} GFLOP/s ({machine.peak_source})", fontsize=10
        )
        axes.grid(True, which="major", linewidth=0.4)
        for handle in axes.legend(fontsize=8, loc="lower right").legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([40])
    return save_figure(figure, path)
