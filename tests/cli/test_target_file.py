"""Files that may or may not be written."""

import pytest

from mobileone.cli.main import COMMANDS, find_command
from mobileone.cli.target_file import refuse_existing, require_drawing, require_target
from mobileone.data.augment import TrainTransform
from mobileone.data.digits import load_digits
from mobileone.data.preview import draw_batches
from mobileone.errors import ConfigError, MobileOneError
from mobileone.report.figure import new_figure, save_figure
from mobileone.report.page import document


def test_what_exists_is_refused_without_force(tmp_path):
    refuse_existing(tmp_path / "new", force=False)
    refuse_existing(tmp_path, force=True)
    with pytest.raises(ConfigError, match="exists already; pass --force"):
        refuse_existing(tmp_path, force=False)


def test_a_target_is_tried_and_left_as_it_was(tmp_path):
    require_target(tmp_path / "deep" / "a.png", ".png")
    assert list((tmp_path / "deep").iterdir()) == []
    (tmp_path / "b.PNG").write_text("old")
    require_target(tmp_path / "b.PNG", ".png")
    assert (tmp_path / "b.PNG").read_text() == "old"
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        require_target(tmp_path / "a.jpg", ".png")
    (tmp_path / "c.png").mkdir()
    with pytest.raises(MobileOneError, match="it is a folder"):
        require_target(tmp_path / "c.png", ".png")
    with pytest.raises(MobileOneError, match="cannot write"):
        require_target(tmp_path / "b.PNG" / "a.png", ".png")


# PHOTO and NOTES are files of the user's, MODEL a checkpoint.
DRAWING_COMMANDS = [
    ("explain", "MODEL", "PHOTO", "--png", "PHOTO"),
    ("predict", "MODEL", "PHOTO", "--png", "PHOTO"),
    ("similar", "MODEL", "PHOTO", "--in", ".", "--png", "PHOTO"),
    ("profile", "PHOTO", "--png", "PHOTO"),
    ("profile", "MODEL", "--html", "NOTES"),
    ("bench", "MODEL", "--png", "PHOTO"),
    ("bench", "MODEL", "--html", "NOTES"),
    ("check-data", ".", "--preview", "PHOTO"),
    ("check-labels", "MODEL", "--data", ".", "--html", "NOTES"),
    ("calibrate", "MODEL", "--data", ".", "--html", "NOTES"),
    ("web", "--collect", "none.json", "--png", "PHOTO"),
]


@pytest.mark.parametrize("arguments", DRAWING_COMMANDS, ids=" ".join)
def test_no_command_draws_over_what_it_did_not_draw(run, model_file, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    files = {"PHOTO": tmp_path / "photo.png", "NOTES": tmp_path / "notes.html"}
    for path in files.values():
        path.write_text("of mine")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*((files | {"MODEL": model_file}).get(each, each) for each in arguments))
    assert (code, out) == (1, "")
    assert "exists already and was not drawn by mobileone" in err
    assert err.count("\n") == 1
    assert [path.read_text() for path in files.values()] == ["of mine"] * 2
    assert sorted(tmp_path.iterdir()) == before


def test_every_command_that_draws_where_it_is_told_is_among_them():
    options = {"png", "html", "preview"}
    drawing = {
        (name, field) for name in COMMANDS for field in options & {*find_command(name).__dataclass_fields__}
    }
    assert drawing == {(line[0], line[-2].removeprefix("--")) for line in DRAWING_COMMANDS}


def test_what_was_drawn_is_drawn_again(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
    draw_batches(load_digits("train"), [("a", TrainTransform(size=8))], tmp_path / "sheet.png")
    save_figure(new_figure(1, 1), tmp_path / "chart.PNG")
    (tmp_path / "page.html").write_text(document("title", ["body"]))
    (tmp_path / "empty.png").touch()
    for path in [*tmp_path.iterdir(), tmp_path / "new.html"]:
        require_drawing(path, path.suffix.lower())
    (tmp_path / "page.html").write_text(document("title", [])[:20])
    with pytest.raises(ConfigError, match="was not drawn by mobileone"):
        require_drawing(tmp_path / "page.html", ".html")
