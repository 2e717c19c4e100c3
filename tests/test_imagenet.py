"""ImageNet's class names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mobileone.errors import ConfigError
from mobileone.imagenet import WNIDS, human_name, resolve_classes


def test_the_1000_classes_are_in_class_order():
    assert len(WNIDS) == len(set(WNIDS)) == 1000
    assert list(WNIDS) == sorted(WNIDS)
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in WNIDS)
    places = {0: "n01440764", 207: "n02099601", 285: "n02124075", 504: "n03063599", 999: "n15075141"}
    assert {place: WNIDS[place] for place in places} == places


def test_names():
    assert human_name(WNIDS[207]) == "golden retriever"
    assert human_name(WNIDS[999]).startswith("toilet tissue")
    # Names are not unique: the bird and the machine.
    assert human_name("n02012849") == human_name("n03126707") == "crane"
    assert all(human_name(wnid).strip() and "_" not in human_name(wnid) for wnid in WNIDS)
    assert human_name("n99999999") == "n99999999"


def test_names_agree_with_the_published_list(synset_words):
    assert {wnid: human_name(wnid) for wnid in WNIDS} == synset_words


def test_a_models_classes():
    assert resolve_classes(1000) == WNIDS
    assert resolve_classes(10) is None
    assert resolve_classes(2, ["b", "a"]) == ("b", "a")
    assert resolve_classes(1000, [str(i) for i in range(1000)])[7] == "7"
    with pytest.raises(ConfigError, match="3 class names for a model of 2 classes"):
        resolve_classes(2, ["a", "b", "c"])


def test_torch_is_not_imported():
    code = "import sys, mobileone.imagenet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
