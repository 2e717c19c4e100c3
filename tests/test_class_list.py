"""Lists of class names, and what is said where there is none."""

import pytest

from mobileone.class_list import guessed_order, read_class_list
from mobileone.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "cat\nsea lion\nzoë\n"),
        ("a.names", "\ufeffcat\r\nsea lion \r\nzoë\r\n\r\n"),
        ("a.json", '["cat", "sea lion", "zoë"]'),
    ],
)
def test_a_name_a_line_or_json(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode())
    assert read_class_list(tmp_path / name) == ("cat", "sea lion", "zoë")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "must hold a name a line"),
        ("a.txt", b"cat\n\ndog\n", "must hold a name a line"),
        ("a.txt", b"cat\ndog\ncat\n", "has cat twice"),
        ("a.txt", b"caf\xe9\n", "not UTF-8 text or JSON"),
        ("a.json", b'{"0": "cat"}', "must hold a name a line"),
        ("a.json", b"[1, 2]", "must hold a name a line"),
        ("a.json", b"cat", "not UTF-8 text or JSON"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_class_list(tmp_path / name)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the class list .*missing\.txt: No such file"):
        read_class_list(tmp_path / "missing.txt")


def test_a_warning_only_where_natural_order_is_another():
    assert guessed_order(["1", "10", "2"]).startswith("warning: the model has no class names")
    assert "natural order (1, 2, 10)" in guessed_order(["1", "10", "2"])
    assert "warning" in guessed_order([f"class {n}" for n in sorted(map(str, range(12)))])
    for names in (["a", "b"], ["01", "02", "10"], ["1", "2", "3"], ["x1", "x2y", "x2z"]):
        assert "warning" not in guessed_order(names)
