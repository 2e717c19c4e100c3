"""The part of JSON Schema that the page's formats are written in; static/schema.js is the page's copy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mobileone.decision import is_finite


def fault(value: Any, schema: Mapping[str, Any], path: str = "") -> str | None:
    """The first thing that is wrong with a value, for people; None where nothing is.

    Args:
        value: parsed JSON.
        schema: `type`, `const`, `enum`, bounds of numbers, lengths, `items`, `properties`, `required`.
        path: of the value, for the sentence.

    >>> fault({"a": [1, -2]}, {"properties": {"a": {"items": {"minimum": 0}}}})
    'a[1] is below 0'
    """
    where = path or "it"
    if "const" in schema and value != schema["const"]:
        return f"{where} is not {json.dumps(schema['const'])}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is none of {', '.join(schema['enum'])}"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is_of(value, each) for each in types):
        return f"{where} is no {' or '.join(types)}"
    if isinstance(value, str) and len(value) > schema.get("maxLength", math.inf):
        return f"{where} is longer than {schema['maxLength']} characters"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", -math.inf):
            return f"{where} is below {schema['minimum']}"
        if value > schema.get("maximum", math.inf):
            return f"{where} is above {schema['maximum']}"
    if isinstance(value, list):
        return _list_fault(value, schema, path)
    return _object_fault(value, schema, path) if isinstance(value, dict) else None


def _list_fault(value: list[Any], schema: Mapping[str, Any], path: str) -> str | None:
    if len(value) < schema.get("minItems", 0):
        return f"{path or 'it'} has fewer than {schema['minItems']} entries"
    if len(value) > schema.get("maxItems", math.inf):
        return f"{path or 'it'} has more than {schema['maxItems']} entries"
    items = schema.get("items", {})
    faults = (fault(each, items, f"{path}[{index}]") for index, each in enumerate(value))
    return next(filter(None, faults), None)


def _object_fault(value: dict[str, Any], schema: Mapping[str, Any], path: str) -> str | None:
    def inside(name: str) -> str:
        return f"{path}.{name}" if path else name

    for name in schema.get("required", ()):
        if name not in value:
            return f"{inside(name)} is missing"
    known = schema.get("properties", {})
    for name in value:
        if name not in known and schema.get("additionalProperties") is False:
            return f"{inside(name[:40])} is not known"
    faults = (fault(each, known[name], inside(name)) for name, each in value.items() if name in known)
    return next(filter(None, faults), None)


def _is_of(value: Any, kind: str) -> bool:
    is_number = is_finite(value)
    return {
        "null": value is None,
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": is_number,
        "integer": is_number and value == int(value),
    }[kind]
