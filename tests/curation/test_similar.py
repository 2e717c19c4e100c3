"""The nearest images are those of the colour; another network's vectors are noticed."""

import dataclasses

import numpy as np
import pytest

from mobileone.curation.embed import embed
from mobileone.curation.similar import similar
from mobileone.errors import ConfigError, DataError, MobileOneWarning

pytest.importorskip("faiss", reason="needs faiss")


def test_an_image_finds_itself_and_its_kind(colours, painted, paint):
    vectors = embed(colours, painted, progress=False)
    found = similar(colours, painted / "train" / "red" / "00.png", vectors, number=8)
    assert (found[0].image, found[0].similarity) == ("train/red/00.png", pytest.approx(1, abs=1e-6))
    assert [each.label for each in found[1:]].count("red") >= 5
    assert [each.similarity for each in found] == sorted((e.similarity for e in found), reverse=True)
    assert len(similar(colours, paint("green", 7), vectors, number=500)) == 38


def test_vectors_of_another_network_are_noticed(colours, painted, paint):
    vectors = embed(colours, painted, progress=False)
    other = dataclasses.replace(vectors, probe=np.roll(vectors.probe, 1))
    with pytest.warns(MobileOneWarning, match=r"of another network.*\(colours\).*embed again"):
        similar(colours, paint("green", 7), other)
    shorter = dataclasses.replace(vectors, vectors=vectors.vectors[:, :5].copy(), probe=vectors.probe[:5])
    with pytest.raises(DataError, match="the vectors have 5 values, those of this model 12"):
        similar(colours, paint("green", 7), shorter)


def test_what_makes_no_sense(colours, painted, paint):
    vectors = embed(colours, painted, progress=False)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        similar(colours, paint("red", 1), vectors, number=0)
    none = dataclasses.replace(vectors, vectors=vectors.vectors[:0], names=(), labels=None)
    with pytest.raises(DataError, match="no vectors"):
        similar(colours, paint("red", 1), none)
