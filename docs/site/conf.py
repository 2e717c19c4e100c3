"""Sphinx: what turns the laid-out pages into a site. Not run by hand: `scripts/docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mobileone

CSS = Path(mobileone.__file__).parent / "report" / "page.css"

project = "mobileone"
copyright = "the mobileone authors"
version = release = mobileone.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

# Markdown as GitHub reads it.
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
nb_execution_mode = "off"
highlight_language = "none"
smartquotes_action = "D"  # dashes alone: names of parameters are set off by one
copybutton_prompt_text = "$ "

# Docstrings: Google's sections, `code` between single backticks.
default_role = "code"
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
maximum_signature_line_length = 70
add_module_names = False
toc_object_entries_show_parents = "hide"


def colours(dark: bool) -> dict[str, str]:
    """The theme's, from the style of the package's own pages, so that there is one design."""
    blocks = re.findall(r":root \{(.*?)\}", CSS.read_text(encoding="utf-8"), flags=re.DOTALL)
    ours = dict(re.findall(r"--(\w+): (#\w+);", blocks[int(dark)]))
    return {
        "color-background-primary": ours["back"],
        "color-background-secondary": ours["card"],
        "color-background-border": ours["line"],
        "color-foreground-primary": ours["text"],
        "color-foreground-secondary": ours["soft"],
        "color-foreground-muted": ours["soft"],
        "color-brand-primary": ours["bar"],
        "color-brand-content": ours["bar"],
        "color-brand-visited": ours["bar"],
        "color-code-background": ours["card"],
        "color-inline-code-background": ours["card"],
        "color-api-name": ours["bar"],
        "color-api-pre-name": ours["soft"],
        "color-api-keyword": ours["soft"],
        "font-stack": "system-ui, sans-serif",
    }


html_theme = "furo"
html_title = "mobileone"
html_theme_options = {"light_css_variables": colours(False), "dark_css_variables": colours(True)}
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Types are named after the module they lie in; what is documented is `mobileone.NAME`."""
    name = str(node.get("reftarget", "")).rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in mobileone.__all__:
        return None
    python = env.get_domain("py")
    target = f"mobileone.{name}"
    return python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, content)


def skip(app: Any, what: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Fields of named tuples, whose docstrings say nothing."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def linked(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Make a public name between backticks a link."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        return f":py:obj:`{name} <mobileone.{name}>`" if name in mobileone.__all__ else match[0]

    lines[:] = [re.sub(r"(?<![`:])`(\w+)`(?!`)", link, line) for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", public_name)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", linked, priority=900)  # after the sections have been read
