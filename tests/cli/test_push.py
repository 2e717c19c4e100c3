"""`mobileone push`."""

import json


def test_a_folder_and_what_is_printed(run, model_file, tmp_path):
    code, out, _ = run("push", model_file, "hf:me/tiny", "--license", "mit", "--dry-run", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[0].startswith("wrote 3 files, ")
    assert out.splitlines()[1] == "licence mit; use it as hf:me/tiny"
    code, out, _ = run(
        "push", model_file, "hf:me/tiny", "--license", "mit", "--dry-run", tmp_path / "two", "--json"
    )
    assert (code, json.loads(out)["license"]) == (0, "mit")


def test_errors_speak_of_flags(run, model_file, tmp_path, at_local_hub):
    code, out, err = run("push", model_file, "hf:me/tiny")
    assert (code, out) == (1, "")
    assert "name it, as --license mit for example" in err
    at_local_hub.add("me/tiny", {"README.md": b"# theirs"})
    _, _, err = run("push", model_file, "hf:me/tiny", "--license", "mit")
    assert "then replace it by --parent " in err
    _, _, err = run("push", tmp_path / "x.onnx", "hf:me/tiny", "--license", "mit")
    assert "this beside it by --files" in err
