"""LiteRT.js comes from one archive with one hash, or not at all."""

import shutil

import pytest

from mobileone.errors import ConfigError, DownloadError
from mobileone.web import litert_archive
from mobileone.web.litert_archive import MODULES, SCRIPT, VERSION, add_litert


@pytest.fixture
def any_archive_is_pinned(monkeypatch):
    monkeypatch.setattr(litert_archive, "_is_pinned", lambda content: content.startswith(b"\x1f\x8b"))


@pytest.fixture
def archive(tmp_path):
    """One of the same files, without what is in them."""
    import tarfile

    for name in (SCRIPT, *MODULES, "package/README.md"):
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('import { createWasmLib } from "@litertjs/wasm-utils";\n')
    with tarfile.open(tmp_path / "core.tgz", "w:gz") as packed:
        packed.add(tmp_path / "made" / "package", "package")
    return tmp_path / "core.tgz"


def test_an_archive_that_is_given_is_unpacked(archive, any_archive_is_pinned, tmp_path):
    add_litert(tmp_path / "litert", archive)
    names = sorted(path.name for path in (tmp_path / "litert").iterdir())
    assert names == sorted(["LICENSE.txt", *(path.rsplit("/", 1)[1] for path in (SCRIPT, *MODULES))])
    assert 'from "../litert_loader.js"' in (tmp_path / "litert" / "index.js").read_text()


def test_another_archive_is_refused(archive, tmp_path):
    with pytest.raises(ConfigError, match=r"not the archive of @litertjs/core 2\.5\.3: its SHA-512"):
        add_litert(tmp_path / "litert", archive)
    with pytest.raises(ConfigError, match=r"nothing.tgz cannot be read"):
        add_litert(tmp_path / "litert", tmp_path / "nothing.tgz")
    assert not (tmp_path / "litert").exists()


def test_without_npm_it_must_be_given(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DownloadError, match=r"npm, which is not there; .*runtime_archive"):
        add_litert(tmp_path / "litert")


def npm_that(tmp_path, does):
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    return str(script)


def test_npm_fetches_it_once(archive, any_archive_is_pinned, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    npm = npm_that(tmp_path, f'test "$2" = "@litertjs/core@{VERSION}" && cp {archive} "$5/core.tgz"')
    monkeypatch.setattr(shutil, "which", lambda name: npm)
    add_litert(tmp_path / "first")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    add_litert(tmp_path / "second")
    assert (tmp_path / "second" / "index.js").exists()


def test_what_npm_cannot_fetch_or_fetches_wrongly_is_not_kept(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    npm = npm_that(tmp_path, "echo 'npm error network' >&2; exit 1")
    monkeypatch.setattr(shutil, "which", lambda name: npm)
    with pytest.raises(DownloadError, match="did not fetch @litertjs/core: npm error network"):
        add_litert(tmp_path / "litert")
    shutil.rmtree(tmp_path / "bin")
    npm_that(tmp_path, f'cp {archive} "$5/core.tgz"')
    with pytest.raises(DownloadError, match="with another SHA-512 than the pinned; not kept"):
        add_litert(tmp_path / "litert")
    assert not list((tmp_path / "cache").rglob("*.tgz"))
