"""Model files from the Hugging Face hub, through its own library and cache. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from mobileone.errors import DownloadError

HUB_PREFIX = "hf-hub:"
HUB_PREFIXES = (HUB_PREFIX, "hf:")
CONFIG_NAME = "config.json"
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")


def is_on_hub(address: str) -> bool:
    """Whether an address is the hub's: `hf-hub:owner/name`, as timm writes it, or `hf:owner/name`."""
    return address.startswith(HUB_PREFIXES)


def split_address(address: str) -> tuple[str, str | None]:
    """Repository and revision of an address for which `is_on_hub`.

    >>> split_address("hf:owner/name"), split_address("hf-hub:owner/name@v1")
    (('owner/name', None), ('owner/name', 'v1'))
    """
    repo_id, _, revision = address.partition(":")[2].partition("@")
    return repo_id, revision or None


def hub_files(repo_id: str, revision: str | None = None) -> tuple[Path, Path | None]:
    """Weights and config.json (None if it has none) of a model repository, downloaded where not cached.

    `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN` and the cache's variables work as the library says.

    Args:
        repo_id: `owner/name`.
        revision: branch, tag or commit; None is the main branch.

    Raises:
        DownloadError: if the repository, revision or file does not exist, is gated, or cannot be reached.
    """
    config = _hub_file(repo_id, CONFIG_NAME, revision)
    for name in WEIGHT_NAMES:
        weights = _hub_file(repo_id, name, revision)
        if weights is not None:
            return weights, config
    where = f"{repo_id}@{revision}" if revision else repo_id
    raise DownloadError(f"hf-hub:{where} has no {' or '.join(WEIGHT_NAMES)}, or the hub is out of reach")


def _hub_file(repo_id: str, filename: str, revision: str | None) -> Path | None:
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo_id, filename, revision=revision))
    except LocalEntryNotFoundError as error:
        # Nobody could be asked. Without config.json weights would be given images that they do not expect,
        # so it is missing only where the hub has said so before.
        known = try_to_load_from_cache(repo_id, filename, revision=revision)
        if filename == CONFIG_NAME and known is not _CACHED_NO_EXIST:
            raise DownloadError(
                f"cannot fetch {filename} of hf-hub:{repo_id}: it is not cached, and the hub is out of reach"
            ) from error
        return None
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:  # the hub's answers, network errors, a malformed name
        raise DownloadError(
            f"cannot fetch {filename} of hf-hub:{repo_id}: {_reason(error, revision)}"
        ) from error


def _reason(error: Exception, revision: str | None) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return "it is gated; accept its terms on the hub and set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return "no such repository, or it is private; if so, set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"no branch, tag or commit {revision!r}"
    return " ".join(str(error).split())[:300] or type(error).__name__
