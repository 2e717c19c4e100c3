"""`mobileone push`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mobileone.cli.arguments import NAMES
from mobileone.cli.output import megabytes, print_json
from mobileone.errors import MobileOneError
from mobileone.variants import Form


@dataclass(frozen=True, kw_only=True)
class Push:
    """Put a model on the Hugging Face hub, with a card, in one commit.

    Example: mobileone push runs/digits hf:me/digits --license mit
    """

    model: Annotated[Positional[str], arg(metavar="RUN|MODEL")]
    """A run folder, whose exported files go along, or MODEL, see mobileone --help."""
    to: Annotated[Positional[str], arg(metavar="hf:OWNER/NAME")]
    """Repository; it is made where there is none."""
    private: bool = False
    """Make it a private one."""
    revision: str | None = None
    """Branch, made where there is none. Default: the main one."""
    license: str | None = None
    """The hub's name of the licence: mit, apache-2.0, cc-by-4.0 … Default: that of the published weights that
    the model is or was trained from, which cannot be changed."""
    datasets: Annotated[tuple[str, ...], NAMES] = ()
    """The hub's names of what it was trained on."""
    files: Annotated[tuple[str, ...], NAMES] = ()
    """Exported files that go along, with commas; those in RUN do anyway."""
    form: Form | None = None
    """Fuse or expand on the way. Default: as it is."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    parent: str | None = None
    """Replace this commit, whoever made it. Default: only what was pushed from RUN last."""
    message: str | None = None
    """Of the commit."""
    dry_run: Path | None = None
    """Folder to write everything into instead."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.publishing.push import push

        try:
            done = push(
                self.model,
                self.to,
                private=self.private,
                revision=self.revision,
                license=self.license,
                datasets=self.datasets,
                files=self.files,
                form=self.form,
                weights_key=self.weights_key,
                parent=self.parent,
                message=self.message,
                dry_run=self.dry_run,
            )
        except MobileOneError as error:
            raise type(error)(_by_flags(str(error))) from error
        if self.json:
            print_json(done.to_dict())
            return 0
        size = megabytes(sum(done.files.values()))
        if done.folder is not None:
            print(f"wrote {len(done.files)} files, {size}, to {done.folder}; nothing was pushed")
        else:
            print(f"pushed {len(done.files)} files, {size}, to {done.url} (commit {(done.commit or '')[:7]})")
        print(
            f"licence {done.license}; use it as hf:{done.repo_id}"
            + (f"@{done.revision}" if done.revision else "")
        )
        return 0


def _by_flags(text: str) -> str:
    return (
        text.replace("parent=", "--parent ")
        .replace("license='mit'", "--license mit")
        .replace("license=", "--license ")
        .replace("leave private out", "leave --private out")
        .replace("files=[…]", "--files")
    )
