"""The same rules in Python and in the page, on the same values."""

import json
import shutil
import subprocess

import pytest

from mobileone.web.schema import fault

from .conftest import STATIC

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind", "runs"],
    "properties": {
        "kind": {"enum": ["fast", "slow"]},
        "format": {"const": "x/1"},
        "name": {"type": ["string", "null"], "maxLength": 4},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "is_same": {"type": "boolean"},
        "runs": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "number", "minimum": 0}},
    },
}
GOOD = {"kind": "fast", "runs": [1, 2.5], "name": None, "count": 3, "is_same": True, "format": "x/1"}
CASES = [
    (GOOD, None),
    (GOOD | {"name": "four", "count": 3.0}, None),
    ([], "it is no object"),
    (None, "it is no object"),
    ({"kind": "fast"}, "runs is missing"),
    (GOOD | {"other": 1}, "other is not known"),
    (GOOD | {"kind": "odd"}, "kind is none of fast, slow"),
    (GOOD | {"format": "x/2"}, 'format is not "x/1"'),
    (GOOD | {"name": "fives"}, "name is longer than 4 characters"),
    (GOOD | {"name": 4}, "name is no string or null"),
    (GOOD | {"count": 1.5}, "count is no integer"),
    (GOOD | {"count": True}, "count is no integer"),
    (GOOD | {"count": 0}, "count is below 1"),
    (GOOD | {"count": 10}, "count is above 9"),
    (GOOD | {"is_same": 1}, "is_same is no boolean"),
    (GOOD | {"runs": []}, "runs has fewer than 1 entries"),
    (GOOD | {"runs": [1, 2, 3, 4]}, "runs has more than 3 entries"),
    (GOOD | {"runs": [1, -2]}, "runs[1] is below 0"),
    (GOOD | {"runs": [1, "2"]}, "runs[1] is no number"),
    (GOOD | {"runs": {"0": 1}}, "runs is no array"),
    (GOOD | {"__proto__": 1}, "__proto__ is not known"),
]


@pytest.mark.parametrize(("value", "wrong"), CASES)
def test_the_first_fault_is_named(value, wrong):
    assert fault(value, SCHEMA) == wrong


def test_no_number_is_a_number():
    for wrong in (float("nan"), float("inf"), 10**400):
        assert fault({"kind": "fast", "runs": [wrong]}, SCHEMA) == "runs[0] is no number"


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_the_page_finds_the_same_faults():
    program = f"""
      import {{ fault }} from {json.dumps((STATIC / "schema.js").as_uri())};
      const [schema, values] = JSON.parse(process.argv[1]);
      console.log(JSON.stringify(values.map((value) => fault(value, schema))));
    """
    given = json.dumps([SCHEMA, [value for value, _ in CASES]])
    command = [
        "node",
        "--no-warnings",
        "--experimental-default-type=module",
        "--input-type=module",
        "-e",
        program,
        given,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [wrong for _, wrong in CASES]
