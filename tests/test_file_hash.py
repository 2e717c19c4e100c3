"""Hashes of files, of any size."""

import hashlib

from mobileone.file_hash import PART_BYTES, sha256_of, sha256_of_path


def test_it_is_the_hash_of_all_parts_from_the_beginning(tmp_path):
    path = tmp_path / "file"
    for content in (b"", b"x", b"abc" * PART_BYTES):
        path.write_bytes(content)
        expected = hashlib.sha256(content).hexdigest()
        assert sha256_of_path(path) == expected
        with path.open("rb") as file:
            file.seek(1)
            assert sha256_of(file) == expected
