"""The page has every figure and loads nothing."""

import numpy as np
import pytest

from mobileone.calibration.calibrate import calibrate
from mobileone.calibration.calibration_page import summary_rows, write_calibration_page
from mobileone.calibration.novelty import measure_novelty
from mobileone.calibration.thresholds import Target

pytest.importorskip("matplotlib", reason="needs matplotlib")
pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.mark.parametrize("per_class", [False, True])
def test_a_page_of_its_own(recalled, bold, tmp_path, per_class):
    model, source = recalled(*bold)
    target = Target(aim="precision", value=0.9, per_class=per_class)
    result = calibrate(model, source, target=target, novelty="energy", progress=False)
    object.__setattr__(result, "novelty", measure_novelty(bold[0], bold[0][:100] / 3))
    text = write_calibration_page(result, tmp_path / "c.html", title="<runs>").read_text(encoding="utf-8")
    assert "Calibration of &lt;runs&gt;" in text
    assert text.count("data:image/png") == 3
    assert "http" not in text.replace("Content-Security-Policy", "").replace("http-equiv", "")
    for _, before, after in summary_rows(result):
        assert f"{before} → {after}" in text
    assert text.count("<tr><td") >= (4 if per_class else 1) + len(result.decision.evidence)
    assert [path.name for path in tmp_path.iterdir()] == ["c.html"]


def test_of_several_labels_an_image_no_answer_is_top1(recalled, tmp_path):
    labels = np.random.default_rng(0).random((300, 4)) < 0.5
    model, source = recalled((2.0 * labels - 1).astype(np.float32), labels)
    model.task = "multilabel"
    result = calibrate(model, source, progress=False)
    text = write_calibration_page(result, tmp_path / "c.html", title="run").read_text(encoding="utf-8")
    assert "of the labels of 300 images told rightly at 0.5" in text
    assert "top-1" not in text
