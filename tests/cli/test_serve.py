"""The serve command."""


def test_what_cannot_be_served_is_one_line(run, tmp_path):
    for arguments, told in (
        ([tmp_path / "none.onnx", "--port", "0"], "none.onnx is not there"),
        (["mobileone_s0", "--queue-size", "0"], "queue_size must be positive"),
        (["mobileone_s0", "--port", "-1"], "port -1"),
    ):
        code, out, err = run("serve", *arguments)
        assert (code, out) == (1, "")
        assert told in err or "extra" in err or "[serve]" in err
