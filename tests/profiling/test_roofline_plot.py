"""The roofline as a picture."""

import numpy as np
import pytest

from mobileone.errors import ConfigError
from mobileone.profiling import roofline_plot
from mobileone.profiling.profile_charts import roofline_rows
from mobileone.profiling.roofline_plot import write_roofline

from .conftest import NEEDS_PROFILE, profile_of

pytest.importorskip("matplotlib", reason=NEEDS_PROFILE)


def test_every_layer_is_a_mark_under_the_measured_roofs(tmp_path, monkeypatch):
    figures = []
    real = roofline_plot.save_figure
    monkeypatch.setattr(
        roofline_plot, "save_figure", lambda figure, path: figures.append(figure) or real(figure, path)
    )
    profiles = [profile_of("mobileone_s0", form=form) for form in ("train", "inference")]
    path = write_roofline(profiles, tmp_path / "a" / "r.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    for axes, profile in zip(figures[0].axes, profiles, strict=True):
        marks = [tuple(place) for scatter in axes.collections for place in scatter.get_offsets()]
        wanted = [(row.intensity, row.gflops) for row in roofline_rows(profile)]
        np.testing.assert_allclose(sorted(marks), sorted(wanted))
        assert [max(line.get_ydata()) for line in axes.lines] == [100.0, 100.0], "no roof above the peak"
        assert axes.get_title().startswith(f"{profile.name}: peak 100 GFLOP/s (matmul)")


def test_without_ceilings_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ConfigError, match="roofline=True"):
        write_roofline([profile_of("mobileone_s0", machine=None)], tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()
