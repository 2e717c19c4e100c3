"""Two files, that need no compiler to be written and no torch to be understood."""

from mobileone.backends.c.writer_int8 import check, versions, write_int8


def test_code_and_header(little, tmp_path):
    files = write_int8(little, tmp_path / "front_door.c", batch=4)
    assert [file.name for file in files] == ["front_door.c", "front_door.h"]
    code, header = (file.read_text(encoding="utf-8") for file in files)
    assert '#include "front_door.h"' in code
    assert "#define MOBILEONE_NET_HEIGHT 67" in header
    assert "Resize the short side to" in header
    assert versions() == {}


def test_a_compiler_is_asked_for_first(monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    check()
