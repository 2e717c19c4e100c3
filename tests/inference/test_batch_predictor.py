"""Columns in, columns out; and in Ray where it is installed."""

import io

import numpy as np
import PIL.Image
import pytest

from mobileone.checkpoint.store import save_model
from mobileone.decision import Decision
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.inference.batch_predictor import BatchPredictor
from mobileone.inference.predictor import Predictor


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)


def coded(pixels):
    content = io.BytesIO()
    PIL.Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_pixels_contents_and_paths_have_the_same_answers(network, pixels, tmp_path):
    predict = BatchPredictor(network, topk=2)
    contents = np.array([coded(each) for each in pixels], object)
    paths = []
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
        paths.append(str(tmp_path / f"{number}.png"))
    answers = [
        predict({name: column, "id": np.arange(5)})
        for name, column in (("image", pixels), ("bytes", contents), ("path", np.array(paths)))
    ]
    wanted = Predictor(network)(list(pixels), topk=2)
    for answer in answers:
        assert answer["index"].tolist() == [[score.index for score in each.scores] for each in wanted]
        assert answer["class_name"].tolist() == [[s.class_name for s in each.scores] for each in wanted]
        assert np.allclose(answer["probability"], [[s.probability for s in each.scores] for each in wanted])
        assert answer["id"].tolist() == list(range(5))
        assert answer["error"].tolist() == [""] * 5
        assert not {"image", "bytes", "path"} & set(answer)


def test_vectors(network, pixels):
    answer = BatchPredictor(network, task="embed", column="photo")({"photo": pixels})
    assert np.allclose(answer["vector"], Predictor(network).embed(list(pixels)), atol=1e-5)


@pytest.mark.parametrize("task", ["predict", "embed"])
def test_a_bad_image_stops_or_is_told(network, pixels, task):
    batch = {"bytes": np.array([b"no picture", coded(pixels[0])], object)}
    with pytest.raises(BadImageError):
        BatchPredictor(network, task=task)(batch)
    answer = BatchPredictor(network, task=task, on_bad_image="skip")(batch)
    values = answer["vector" if task == "embed" else "probability"]
    assert np.isnan(values).any(1).tolist() == [True, False]
    assert [bool(error) for error in answer["error"]] == [True, False]
    alone = BatchPredictor(network, task=task, on_bad_image="skip")({"bytes": batch["bytes"][:1]})
    assert {name: column.shape for name, column in alone.items()} == {
        name: (1, *column.shape[1:]) for name, column in answer.items()
    }


def test_a_calibrated_network_says_whether_it_is_sure(network, pixels):
    network.decision = Decision(thresholds=(1.0,))
    assert BatchPredictor(network)({"image": pixels})["sure"].tolist() == [False] * 5


def test_what_makes_no_sense(network, pixels):
    for values, told in (
        ({"topk": 0}, "topk must be at least 1"),
        ({"task": "test"}, "task must be predict or embed"),
        ({"on_bad_image": "x"}, "on_bad_image must be error or skip"),
    ):
        with pytest.raises(ConfigError, match=told):
            BatchPredictor(network, **values)
    with pytest.raises(DataError, match="has the columns photo, and no image or bytes or path; name that"):
        BatchPredictor(network)({"photo": pixels})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_a_local_ray(network, pixels, tmp_path):
    ray = pytest.importorskip("ray", reason="needs ray[data], which is no dependency")
    data = pytest.importorskip("ray.data", reason="needs ray[data], which is no dependency")
    path = save_model(network, tmp_path / "m.safetensors")
    for number, each in enumerate(pixels):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{number}.png").write_bytes(coded(each))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = (
            data.read_binary_files(str(tmp_path / "photos"), include_paths=True)
            .map_batches(
                BatchPredictor,
                fn_constructor_args=(str(path),),
                fn_constructor_kwargs={"column": "bytes", "topk": 3},
                batch_size=2,
                concurrency=1,
            )
            .take_all()
        )
    finally:
        ray.shutdown()
    wanted = {
        str(tmp_path / "photos" / f"{number}.png"): each.scores[0].index
        for number, each in enumerate(Predictor(network)(list(pixels), topk=3))
    }
    assert {row["path"]: row["index"][0] for row in found} == wanted
