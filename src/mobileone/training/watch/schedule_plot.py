"""What a run will do over its epochs, as a picture."""

from __future__ import annotations

from pathlib import Path

from mobileone.input_spec import sides
from mobileone.report.figure import new_figure, save_figure
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.schedule import Schedule

MAX_POINTS = 2000


def draw_schedule(config: TrainConfig, schedule: Schedule, path: Path) -> None:
    """Learning rate, weight decay, image size and augmentation strength over the epochs, as PNG.

    Args:
        config: of the run.
        schedule: of the run's steps.
        path: where to.

    Raises:
        MissingExtraError: without matplotlib.
    """
    figure = new_figure(10, 6)
    (rate, decay), (size, strength) = figure.subplots(2, 2, sharex=True)
    total = schedule.total_steps
    steps = sorted({round(i * (total - 1) / MAX_POINTS) for i in range(MAX_POINTS + 1)})
    at = [step * config.epochs / total for step in steps]
    rate.plot(at, [schedule.lr(step) for step in steps])
    decay.plot(at, [schedule.decay(step) for step in steps])
    edges = list(range(config.epochs + 1))
    scales = [config.images_at(epoch) for epoch in edges[:-1]]
    policy = config.augment.policy
    heights_and_widths = dict.fromkeys(zip(*(sides(scale.size) for scale in scales), strict=True))
    for values, style in zip(heights_and_widths, ("-", "--"), strict=False):
        size.stairs(values, edges, baseline=None, linewidth=1.5, color="C0", linestyle=style)
    strength.stairs(
        [config.augment.strength * scale.strength if policy != "none" else 0.0 for scale in scales],
        edges,
        baseline=None,
        linewidth=1.5,
    )
    size.set_ylim(0, 1.1 * max(sides(config.input_spec.size)))
    strength.set_ylim(-0.05, 1.1)
    titles = {
        rate: "learning rate",
        decay: "weight decay",
        size: "image size, pixels"
        if isinstance(config.input_spec.size, int)
        else "image height and (dashed) width, pixels",
        strength: f"augmentation strength (policy {policy})",
    }
    for axes, title in titles.items():
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.set_xlim(0, config.epochs)
    for axes in (size, strength):
        axes.set_xlabel("epoch")
    for axes in (rate, decay):
        axes.ticklabel_format(axis="y", scilimits=(-3, 3))
    save_figure(figure, path)
