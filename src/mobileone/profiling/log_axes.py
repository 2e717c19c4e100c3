"""Logarithmic axes of a roofline, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from mobileone.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


class LogAxes:
    """Logarithmic axes over whole decades: FLOP a byte across, GFLOP/s up."""

    def __init__(self, x: Sequence[float], y: Sequence[float]) -> None:
        self.x = floor(log10(min(x))), ceil(log10(max(x)))
        self.y = floor(log10(min(y))), ceil(log10(max(y)))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across = (log10(x) - self.x[0]) / max(self.x[1] - self.x[0], 1)
        up = (log10(y) - self.y[0]) / max(self.y[1] - self.y[0], 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        """Lines and labels of the decades, and what the axes are."""
        lines = []
        for exponent in range(self.x[0], self.x[1] + 1):
            x, _ = self.at(10.0**exponent, 10.0 ** self.y[0])
            lines.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            lines.append(
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 24}" text-anchor="middle">{10.0**exponent:g}</text>'
            )
        for exponent in range(self.y[0], self.y[1] + 1):
            _, y = self.at(10.0 ** self.x[0], 10.0**exponent)
            lines.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            lines.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{10.0**exponent:g}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        lines.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">FLOP a byte moved</text>')
        lines.append(
            f'<text transform="translate(18 {HEIGHT / 2 - 20:.0f}) rotate(-90)" text-anchor="middle">'
            "GFLOP/s, measured</text>"
        )
        return lines
