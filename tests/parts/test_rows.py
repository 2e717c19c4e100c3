"""From images to rows."""

import numpy as np
import pytest

from mobileone.data.open import open_data
from mobileone.errors import BadImageError, ConfigError
from mobileone.parts.data_part import named_parts, source_parts
from mobileone.parts.rows import Reading, embedded_rows, judged_rows, predicted_rows


def flat(parts):
    return [row for some in parts for row in some]


def test_predictions_and_vectors_are_those_of_the_predictor(predictor, photos):
    (part,) = named_parts([str(photos)])
    paths = [str(path) for path in sorted(photos.rglob("*.jpg"))]
    rows = flat(predicted_rows(predictor, part.open(), topk=2, reading=Reading(batch_size=3)))
    assert rows == [each.to_dict() for each in predictor.stream(paths, topk=2, batch_size=3)]
    rows = flat(embedded_rows(predictor, part.open(), reading=Reading(batch_size=3)))
    assert np.array_equal([row["vector"] for row in rows], predictor.embed(paths, batch_size=3))


@pytest.mark.parametrize("rows_of", [embedded_rows, judged_rows])
def test_a_bad_image_stops_or_has_its_reason_in_its_place(predictor, photos, rows_of):
    (photos / "val" / "cat" / "1.jpg").write_bytes(b"no picture")
    source = open_data(str(photos), split="val")
    (part,) = source_parts(source, [source.files[i] for i in range(len(source))])
    with pytest.raises(BadImageError, match=r"1\.jpg"):
        flat(rows_of(predictor, part.open(), reading=Reading()))
    rows = flat(rows_of(predictor, part.open(), reading=Reading(on_bad_image="skip", batch_size=2)))
    assert [row["image"] for row in rows] == list(part.open().names)
    assert [row["error"] is None for row in rows] == [True, False, *[True] * 5]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"on_bad_image": "ignore"}, "on_bad_image must be error or skip"),
    ],
)
def test_values_out_of_range(values, told):
    with pytest.raises(ConfigError, match=told):
        Reading(**values)
