"""One tree of errors, all of them public and documented."""

import inspect
from pathlib import Path

import pytest

import mobileone
from mobileone import errors

CLASSES = [
    value for _, value in inspect.getmembers(errors, inspect.isclass) if not issubclass(value, Warning)
]
PAGE = Path(__file__).parents[1] / "docs" / "errors.md"


def test_catching_the_base_catches_all():
    assert len(CLASSES) > 10
    assert [cls for cls in CLASSES if not issubclass(cls, errors.MobileOneError)] == []


@pytest.mark.parametrize("cls", CLASSES)
def test_each_is_public_and_documented_under_its_own_base(cls):
    assert getattr(mobileone, cls.__name__) is cls
    (row,) = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if f"| `{cls.__name__}` |" in line
    ]
    base = cls.__bases__[0]
    if base not in (Exception, errors.MobileOneError):
        assert f"a `{base.__name__}`" in row


def test_the_warning_is_a_users_and_public():
    assert issubclass(mobileone.MobileOneWarning, UserWarning)
    assert "`mobileone.MobileOneWarning`" in PAGE.read_text(encoding="utf-8")


def test_who_expects_pythons_own_errors_gets_them():
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
