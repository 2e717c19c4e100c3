"""Programs run where they were written, or where the user says so; networks run anywhere."""

import hashlib
import json
import shutil

import pytest

from mobileone.backends.manifest import manifest_path
from mobileone.backends.session import open_session
from mobileone.backends.table import BACKENDS
from mobileone.backends.trusted_programs import TRUST_VARIABLE
from mobileone.cache import CACHE_VARIABLE
from mobileone.errors import ArtifactError, MobileOneError
from mobileone.exporting.export import export


@pytest.fixture
def program(network, tmp_path, monkeypatch):
    """A .pt2 file that was written on this machine."""
    monkeypatch.delenv(TRUST_VARIABLE, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return export(network, tmp_path / "net.pt2", format="torch").path


def test_formats_that_run_code_are_marked():
    assert [backend.name for backend in BACKENDS.values() if backend.is_program] == ["c", "torch"]


def test_what_was_written_here_runs_under_any_name(program):
    open_session(program)
    moved = program.with_name("moved.pt2")
    shutil.copy(program, moved)
    text = manifest_path(program).read_text().replace("net.pt2", "moved.pt2")
    manifest_path(moved).write_text(text)
    open_session(moved)


def test_a_hostile_program_from_elsewhere_is_refused_unless_the_user_says_so(program, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another user's"))
    with pytest.raises(
        ArtifactError, match=r"a \.pt2 file is a program: .* set \$MOBILEONE_TRUST_PROGRAMS=1"
    ):
        open_session(program)
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    open_session(program)


def test_a_hostile_source_file_is_neither_compiled_nor_run(program, tmp_path):
    source = tmp_path / "evil.c"
    source.write_text(f'__attribute__((constructor)) void evil(void) {{ system("touch {tmp_path}/ran"); }}')
    source.with_suffix(".h").write_text("#ifndef EVIL_H\nconst char *evil_error_text(int);\n")
    values = json.loads(manifest_path(program).read_text())
    values |= {
        "format": "c",
        "precision": "int8",
        "files": [_record(source), _record(source.with_suffix(".h"))],
    }
    manifest_path(source).write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=r"a \.c file is a program"):
        open_session(source)
    assert not (tmp_path / "ran").exists()


def test_a_cache_that_cannot_be_written_is_said(network, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(MobileOneError, match=r"choose another folder by \$MOBILEONE_CACHE"):
        export(network, tmp_path / "net.pt2", format="torch")


def _record(path):
    return {
        "name": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size_bytes": path.stat().st_size,
    }
