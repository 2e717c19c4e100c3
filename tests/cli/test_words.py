"""Plain command lines are read as the parser would read them, and everything else is left to it."""

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from mobileone.cli.arguments import NAMES
from mobileone.cli.main import find_command, read_by_parser
from mobileone.cli.words import Word, for_parser, read_plainly

PLAIN = (
    "predict s0.onnx photo.jpg",
    "predict s0.onnx a.jpg b.jpg folder --topk 1 --json",
    "predict --threads 2 s0.onnx photo.jpg -o out.csv --force",
    "predict s0.onnx photo.jpg --input-size 256x192 --on-bad-image=skip --output=out.jsonl",
    "predict s0.onnx photo.jpg --precision int8 --classes names.txt --no-exif --scaled-decoding",
    "test s0.onnx --data photos --crop 0.9 --batch-size 8",
    "serve s0.onnx --port 0 --upload-s 2.5",
)
LEFT = (
    "predict",
    "predict s0.onnx",
    "predict --help",
    "predict s0.onnx a.jpg --topk",
    "predict s0.onnx a.jpg --topk five",
    "predict s0.onnx a.jpg --topk -1",
    "predict s0.onnx a.jpg --topk 1 b.jpg",
    "predict s0.onnx a.jpg --topk 1 --topk 2",
    "predict s0.onnx a.jpg --json=yes",
    "predict s0.onnx a.jpg --threads None",
    "predict s0.onnx a.jpg --precision int7",
    "predict s0.onnx a.jpg --input-size huge",
    "predict --model s0.onnx a.jpg",
    "predict s0.onnx -- a.jpg",
    "predict s0.onnx a.jpg --tipk 3",
    "test s0.onnx",
    "test s0.onnx extra --data photos",
    "serve --port 1",
    "info s0.onnx",
)


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_line_is_what_the_parser_makes_of_it(line):
    name, *words = shlex.split(line)
    plain = read_plainly(find_command(name), words)
    assert plain is not None
    assert plain == read_by_parser([name, *words])


@pytest.mark.parametrize("line", LEFT)
def test_what_is_not_plain_is_left_to_the_parser(line):
    name, *words = shlex.split(line)
    assert read_plainly(find_command(name), words) is None


@dataclass(frozen=True, kw_only=True)
class Sample:
    kind: Annotated[Literal["a", "b"] | None, Word(short="-k")] = None
    many: Annotated[tuple[str, ...], Word(is_positional=True)]
    size: Annotated[int, Word(read=lambda text: 2 * int(text))] | None = None


@dataclass(frozen=True)
class Listed:
    names: Annotated[tuple[str, ...], NAMES] = ()


def test_words_say_what_a_type_does_not():
    assert read_plainly(Sample, ["x", "y", "-k", "b", "--size", "4"]) == Sample(
        many=("x", "y"), kind="b", size=8
    )
    assert read_plainly(Sample, ["x", "-k", "c"]) is None
    assert read_plainly(Listed, []) is None, "said in the parser's own terms"


def test_hints_of_the_parser_leave_plain_reading_as_it_was():
    for _ in range(2):
        hints = for_parser(Sample).__annotations__
        assert list(hints) == ["kind", "many", "size"]
        assert not any("Word(" in repr(hint) for hint in hints.values())
        assert read_plainly(Sample, ["x"]) == Sample(many=("x",))
