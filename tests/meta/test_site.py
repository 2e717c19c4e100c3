"""The documentation's site: everything has its place there, and what is wrong is not published."""

import subprocess
import sys
from dataclasses import fields

import pytest
from docs.site import build as building
from docs.site.links import dead_links
from docs.site.pages import ROOT, outside_code, pages, site_name, write_pages
from docs.site.reference import GROUPS, command_page, grouped, options_of, results_of

import mobileone
from mobileone.cli.main import COMMANDS, find_command

PAGE = '<h1 id="top">x</h1><a href="{}">y</a>'


@pytest.fixture
def needs_sphinx() -> None:
    for name in ("sphinx", "myst_nb", "furo", "sphinx_copybutton"):
        pytest.importorskip(name, reason="the extra docs builds the site")


def test_every_public_name_has_its_place():
    names = [name for names in grouped().values() for name in names]
    assert sorted(names) == mobileone.__all__
    assert all(grouped().values())


def test_a_public_name_in_a_new_room_must_be_given_one(monkeypatch):
    monkeypatch.setitem(mobileone._HOME, "Nowhere", "mobileone.elsewhere.nowhere")
    with pytest.raises(LookupError, match=r"Nowhere is in no group: give its room elsewhere one"):
        grouped()


def test_every_page_of_the_docs_is_in_the_navigation_under_a_name_of_its_own():
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(pages())
    names = [site_name(path) for path in pages()]
    assert len(set(names)) == len(names)


def test_what_public_functions_return_is_explained_too():
    assert [each.__name__ for each in results_of(mobileone.verify)] == ["VerifyReport", "Difference"]
    assert "Prediction" in [each.__name__ for each in results_of(mobileone.Predictor)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_on_its_page(name):
    options = [option for box in options_of(name).values() for option in box]
    assert len(options) == len(fields(find_command(name))) + 1  # --help
    assert all(option.text for option in options)
    assert command_page(name).count(".. option::") == len(options) - 1


def test_a_page_says_what_help_says():
    page = command_page("predict")
    assert (
        ".. option:: -o PATH, --output PATH\n\n   Write the predictions to this .csv (a line a class;" in page
    )
    assert "$ mobileone predict mobileone_s0.apple_in1k photo.jpg" in page


def test_links_become_those_of_the_site(tmp_path):
    write_pages(tmp_path)
    front, web = (tmp_path / name for name in ("index.md", "web.md"))
    assert "](fusion.md)" in front.read_text()
    assert "](web.png)" in front.read_text()
    assert "](docs/" not in front.read_text()
    assert (tmp_path / "web.png").is_file()
    assert "](files/result.schema.json.md)" in web.read_text()
    assert (tmp_path / "files" / "result.schema.json.md").is_file()


def test_code_stays_as_it_is():
    text = "a [b](c)\n```\n[b](c)\n```\nand `[b](c)` too [b](c)"
    assert outside_code(lambda part: part.replace("(c)", "(d)"), text) == (
        "a [b](d)\n```\n[b](c)\n```\nand `[b](c)` too [b](d)"
    )


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("two.html", None),
        ("two.html#top", None),
        ("#top", None),
        ("https://arxiv.org/abs/2206.04040", None),
        ("three.html", "no such file"),
        ("two.html#bottom", "no such anchor"),
        ("#bottom", "no such anchor"),
        ("https://nowhere", "no address"),
    ],
)
def test_a_dead_link_is_seen(tmp_path, link, why):
    (tmp_path / "one.html").write_text(PAGE.format(link))
    (tmp_path / "two.html").write_text(PAGE.format("one.html"))
    assert dead_links(tmp_path) == ([f"one.html: {link}: {why}"] if why else [])


def test_a_page_loads_nothing_from_elsewhere(tmp_path):
    (tmp_path / "one.html").write_text('<script src="https://cdn.example.org/x.js"></script>')
    assert dead_links(tmp_path) == ["one.html: https://cdn.example.org/x.js: loaded from elsewhere"]


def test_no_folder_of_somebody_else_is_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(building, "build", lambda site: pytest.fail("it would be replaced"))
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit, match="2"):
        building.main(["-o", str(tmp_path)])
    assert "is something else than a site; name a new folder" in capsys.readouterr().err


def test_a_site_with_something_wrong_is_not_published(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(building, "build", lambda site: ["one.html: two.html: no such file"])
    assert building.main(["-o", str(tmp_path / "site")]) == 1
    assert "one.html: two.html: no such file\n1 things" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("needs_sphinx")
def test_a_dead_link_and_a_docstring_that_does_not_render_are_wrong(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text("# Front\n\n[gone](gone.md) and [there](#nowhere)\n", encoding="utf-8")
    (source / "bad.rst").write_text(":orphan:\n\nBad\n===\n\nStrong **without an end.\n", encoding="utf-8")
    code = "import pathlib, sys\nfrom docs.site.build import render\n"
    code += "print(*render(*map(pathlib.Path, sys.argv[1:])), sep='\\n')"
    wrong = python("-c", code, str(source), str(tmp_path / "site")).stdout
    assert "index.md:3: WARNING: 'myst' cross-reference target not found: 'gone.md'" in wrong
    assert "cross-reference target not found: 'nowhere'" in wrong
    assert "bad.rst:6: WARNING: Inline strong start-string without end-string" in wrong
    assert "index.html: #nowhere: no such anchor" in wrong


@pytest.mark.slow
@pytest.mark.usefixtures("needs_sphinx")
def test_the_site_has_no_warning_no_dead_link_and_every_name_and_command(tmp_path):
    site = tmp_path / "site"
    done = python("-m", "docs.site.build", "-o", str(site))
    assert (done.returncode, done.stderr) == (0, "")
    pages = {group: (site / "python" / f"{group}.html").read_text(encoding="utf-8") for group in GROUPS}
    for group, names in grouped().items():
        assert [name for name in names if f'id="mobileone.{name}"' not in pages[group]] == []
    assert [name for name in COMMANDS if not (site / "commands" / f"{name}.html").is_file()] == []


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as Sphinx changes the one it runs in."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
