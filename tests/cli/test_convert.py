"""`mobileone convert`."""

from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model


def test_nothing_is_overwritten_without_force(run, model_file, tmp_path):
    target = tmp_path / "mine.pth"
    target.write_text("precious")
    code, _, err = run("convert", model_file, "-o", target)
    assert code == 1
    assert "exists already; pass --force" in err
    assert target.read_text() == "precious"
    code, out, _ = run("convert", model_file, "-o", target, "--to", "apple", "--force")
    assert (code, out) == (0, f"wrote {target} in apple's format\n")
    assert load_model(target).variant.widths == (16, 16, 16, 32)


def test_a_form_on_the_way(run, model_file, tmp_path):
    target = tmp_path / "fused.pth"
    assert run("convert", model_file, "-o", target, "--to", "mmpretrain", "--form", "inference")[0] == 0
    assert (describe(target).format, describe(target).form) == ("mmpretrain", "inference")


def test_an_unknown_format_is_wrong_usage(run, tmp_path):
    code, out, err = run("convert", "mobileone_s0", "-o", tmp_path / "x.pth", "--to", "caffe")
    assert (code, out) == (2, "")
    assert "caffe" in err
    assert list(tmp_path.iterdir()) == []
