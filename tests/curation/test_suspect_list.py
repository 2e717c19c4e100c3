"""The table is what --exclude reads, the page shows every suspect."""

import csv

import pytest

from mobileone.curation.check_labels import check_labels
from mobileone.curation.suspect_list import COLUMNS, write_label_page, write_suspects
from mobileone.data.folder import find_images
from mobileone.data.subset import leave_out

for library in ("cleanlab", "faiss", "sklearn"):
    pytest.importorskip(library, reason=f"needs {library}")


@pytest.fixture
def report(colours, painted):
    return check_labels(colours, painted, alike=0.999, folds=4, progress=False)


def test_the_table_leaves_out_its_images(report, painted, tmp_path):
    path = write_suspects(report, tmp_path / "suspects.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["image"] for row in rows] == [each.image for each in report.suspects]
    (left,) = leave_out(path, find_images(painted, split="train"))
    assert len(left) == 38 - len(rows) == 33
    assert not set(left.files) & {row["image"] for row in rows}


def test_the_page_shows_them_and_loads_nothing(report, tmp_path):
    text = write_label_page(report, tmp_path / "p.html", title="<my photos>").read_text(encoding="utf-8")
    assert "Labels of &lt;my photos&gt;" in text
    assert "red → green" in text
    assert "like train/blue/05.png" in text
    assert text.count("data:image/png") == len(report.suspects) + len(report.odd)
    for heading in ("The same picture as different classes", "probably wrong", "Near-dup", "Least like"):
        assert heading in text
