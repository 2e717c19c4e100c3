"""What the functions of a generated C file are called, and who sees them. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.errors import ConfigError

Visibility = Literal["public", "hidden", "static"]

DEFAULT_PREFIX = "mobileone_net"
KEYWORDS = re.compile(
    "auto|break|case|char|class|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|"
    "long|namespace|new|private|public|register|restrict|return|short|signed|sizeof|static|struct|switch|"
    "template|this|typedef|union|unsigned|void|volatile|while"
)
_LITERAL = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_ATTRIBUTES = {
    "public": "",
    "hidden": '__attribute__((visibility("hidden")))',
    "static": "static __attribute__((unused))",  # compilers warn of those that nobody calls
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CSymbols:
    """Names and their reach.

    Attributes:
        prefix: of all public names.
        visibility: `public`; `hidden`, for the parts of one library or program; `static`, for the file that
            includes the code. Whoever compiles it can still define PREFIX_API otherwise.

    Raises:
        ConfigError: on a prefix that cannot begin a C name, or another visibility.

    >>> CSymbols(prefix="camera").attribute
    ''
    """

    prefix: str = DEFAULT_PREFIX
    visibility: Visibility = "public"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.prefix) or KEYWORDS.fullmatch(self.prefix):
            raise ConfigError(
                f"the prefix must be a C identifier that starts with a letter, got {self.prefix!r}"
            )
        if self.visibility not in _ATTRIBUTES:
            known = ", ".join(get_args(Visibility))
            raise ConfigError(f"visibility must be one of {known}, got {self.visibility!r}")

    @property
    def public_flag(self) -> str:
        """For the compiler: everybody sees them, whatever the file says."""
        return f"-D{self.prefix.upper()}_API="

    @property
    def attribute(self) -> str:
        """What stands before each declaration."""
        return _ATTRIBUTES[self.visibility]


def rename(code: str, prefixes: Mapping[str, str]) -> str:
    """C code whose names begin otherwise; string literals stay, which hold names of classes, and weights.

    >>> rename('int net_run(void); #define NET_TEXT "net_run"', {"net": "cat", "NET": "CAT"})
    'int cat_run(void); #define CAT_TEXT "net_run"'
    """
    found = re.compile(rf"{_LITERAL}|\b({'|'.join(prefixes)})(?=_)")
    return found.sub(lambda match: prefixes[match[1]] if match[1] else match[0], code)
