"""The test command."""

import json


def test_test_fuses_first_and_counts_every_image(run, model_file, photos):
    code, out, err = run("test", model_file, "--data", photos, "--json", "--workers", 0)
    result = json.loads(out)
    assert (code, result["num_images"], result["form"]) == (0, 6, "inference")
    assert 0 <= result["acc1"] <= result["acc5"] == 100.0
    assert "fused" in err


def test_unreadable_images_stop_or_are_named(run, model_file, photos):
    (photos / "val" / "cat" / "bad.jpg").write_bytes(b"not a picture")
    code, out, err = run("test", model_file, "--data", photos, "--workers", 0)
    assert (code, out) == (1, "")
    assert "bad.jpg" in err.splitlines()[-1]
    command = ["test", model_file, "--data", photos, "--workers", 0, "--on-bad-image", "skip"]
    code, out, err = run(*command)
    assert code == 0
    assert "n 6  skipped 1" in out
    assert "bad.jpg" in err
