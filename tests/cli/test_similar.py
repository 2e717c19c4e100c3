"""`mobileone similar`."""

import json

import pytest

pytest.importorskip("faiss", reason="needs faiss")


def test_look_alikes_in_a_folder_and_among_vectors(run, model_file, photos, tmp_path):
    photo = sorted((photos / "val" / "cat").glob("*.jpg"))[0]
    code, out, _ = run("similar", model_file, photo, "--in", photos / "val", "-k", 3)
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 3)
    assert lines[0].split() == ["1.0000", f"cat/{photo.name}", "cat"]
    run("embed", model_file, photos / "val", "-o", tmp_path / "v.npy")
    picture = tmp_path / "sheet.png"
    code, out, _ = run("similar", model_file, photo, "--in", tmp_path / "v.npy", "--json", "--png", picture)
    found = json.loads(out)
    assert (code, found[0]["image"], picture.stat().st_size > 1000) == (0, f"cat/{photo.name}", True)
    assert {each["label"] for each in found} == {"cat", "dog"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--in", "nowhere"), "vectors are kept in .npy or .parquet, got nowhere"),
        (("--in", "nowhere.npy"), "names: No such file or directory"),
        (("--in", ".", "-k", 0), "--number must be at least 1"),
        (("--in", ".", "--png", "a.jpg"), "must end in .png, got a.jpg"),
    ],
)
def test_what_makes_no_sense(run, model_file, photos, options, told):
    code, out, err = run("similar", model_file, "photo.jpg", *options)
    assert (code, out, told in err) == (1, "", True)
