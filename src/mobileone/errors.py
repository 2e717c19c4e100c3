"""Every error this package raises on purpose; catch `MobileOneError` to catch them all.

Each takes one string: what was wanted, what was got, what to do. The command line prints it as one line.
What goes on, but not as one might think, is a `MobileOneWarning`.
"""


class MobileOneError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(MobileOneError, ValueError):
    """An argument, a configuration field or a combination of them makes no sense."""


class MissingExtraError(MobileOneError, ImportError):
    """An optional dependency is needed and not installed; the message names the extra."""


class ReparameterizeError(MobileOneError):
    """A model cannot be fused or expanded as it stands."""


class VerificationError(ReparameterizeError):
    """Two models that must compute the same function do not."""


class CheckpointError(MobileOneError):
    """A checkpoint cannot be read, recognised, converted or written."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint asks for code to run, or for more memory than its size allows."""


class DownloadError(CheckpointError):
    """Published weights could not be fetched, or are not the bytes that were pinned."""


class PublishError(MobileOneError):
    """A model cannot be put on a hub: it lacks what it needs there, or the hub refuses it."""


class DataError(MobileOneError):
    """A dataset is missing, empty or does not fit the model."""


class BadImageError(DataError):
    """An image file cannot be decoded; the message starts with its path."""


class InferenceError(MobileOneError):
    """A network gives no usable answer: NaN or infinite logits, or more or fewer than its classes."""


class TrainingError(MobileOneError):
    """A training run cannot start, continue or be resumed."""


class PreemptedError(TrainingError):
    """A training run was told to stop, and has been saved; starting it again goes on (exit code 75)."""


class ProfileError(MobileOneError):
    """A model cannot be traced, exported or executed operator by operator."""


class ExportError(MobileOneError):
    """A model cannot be written for a runtime, or what was written does not compute the same."""


class ArtifactError(MobileOneError):
    """An exported file is damaged, stands without its manifest, or its runtime cannot execute it."""


class MobileOneWarning(UserWarning):
    """Something was decided that is worth knowing: what was taken, what was left out, and how to choose."""
