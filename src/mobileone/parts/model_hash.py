"""What a network computes with, in one hash: to notice that results are of another one."""

from __future__ import annotations

import hashlib

from mobileone.backends.artifact import Artifact
from mobileone.errors import ConfigError
from mobileone.inference.classifier import Classifier


def model_hash(classifier: Classifier) -> str:
    """SHA-256 of an exported file's files, or of a network's weights by name, hexadecimal.

    Raises:
        ConfigError: for a classifier of somebody's own, of which nothing is known.
    """
    if isinstance(classifier, Artifact):
        digest = hashlib.sha256()
        for record in classifier.manifest.files:
            digest.update(record.sha256.encode())
        return digest.hexdigest()
    from mobileone.exporting.pipeline import weights_sha256
    from mobileone.inference.torch_classifier import TorchClassifier

    if not isinstance(classifier, TorchClassifier):
        raise ConfigError(
            f"a {type(classifier).__name__} cannot be told from another one; give a network of ours or an "
            "exported file"
        )
    return weights_sha256(classifier.model)
