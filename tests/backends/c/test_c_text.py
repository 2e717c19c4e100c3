"""Values survive the way into C source."""

import ast
import re

import numpy as np

from mobileone.backends.c.c_text import byte_array, c_float, c_string, number_array, section, string_array


def literals(text):
    """What the string literals of a text stand for; C's octal escapes are Python's."""
    return b"".join(ast.literal_eval("b" + each) for each in re.findall(r'"(?:[^"\\]|\\.)*"', text))


def test_every_byte_survives_before_every_other():
    values = np.array([[a, b] for a in range(256) for b in range(256)], np.uint8).ravel()
    text = byte_array("w", values, kind="uint8_t")
    assert literals(text) == values.tobytes()
    assert "uint8_t w[131072 + 1]" in text
    assert "?" not in text
    assert max(map(len, text.splitlines())) < 400


def test_floats_are_exact():
    values = np.concatenate([np.random.default_rng(0).normal(size=1000), [1e-38, 3e38, 0, 1, -2]]).astype(
        np.float32
    )
    numbers = [float(each) for each in re.findall(r"([-\d.e+]+)f\b", number_array("x", values))]
    np.testing.assert_array_equal(np.array(numbers, np.float32), values)
    assert all("." in c_float(value) or "e" in c_float(value) for value in values)


def test_integers_are_exact_to_the_smallest():
    text = number_array("x", np.array([-(2**31), 2**31 - 1, 0], np.int32))
    assert "-2147483647 - 1, 2147483647, 0" in text


def test_strings():
    assert literals(string_array("s", ["ä", 'a"\\?'])) == 'äa"\\?'.encode()
    assert c_string("x") == '"x"'
    assert "A title" in section("A title")
