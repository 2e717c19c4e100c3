"""Under which licence a model may go out: that of the weights it was made from, else what its owner names."""

from __future__ import annotations

from dataclasses import dataclass

from mobileone.checkpoint.inspect import ModelCard
from mobileone.checkpoint.published import licence_of, licence_text, stated_licence
from mobileone.errors import ConfigError, PublishError
from mobileone.publishing.provenance import Provenance

APPLE_LINK = "https://github.com/apple/ml-mobileone/blob/main/LICENSE"
APACHE = "apache-2.0"
MAX_LICENSE = 64  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseTerms:
    """A licence, as the hub's cards name it.

    Attributes:
        license: the hub's identifier: `mit`, `apache-2.0`, `other` …
        license_name: of an `other` one.
        link: where an `other` one can be read.
        text: its wording, which goes along as LICENSE; None where the identifier says all.
        reason: why it is this one, for the card.
    """

    license: str
    license_name: str | None = None
    link: str | None = None
    text: str | None = None
    reason: str = "named by who pushed it"


def settle_license(given: str | None, origin: Provenance, card: ModelCard) -> LicenseTerms:
    """The licence that a model goes out under.

    Args:
        given: what its owner names, one of the hub's identifiers; None names none.
        origin: of the model.
        card: of the model.

    Raises:
        ConfigError: if it is no identifier.
        PublishError: if there is none, or the weights that the model was made from have another.
    """
    if given is not None and (
        not given or len(given) > MAX_LICENSE or not given.isascii() or any(c.isspace() for c in given)
    ):
        raise ConfigError(f"license must be an identifier of the hub's such as mit, got {given!r:.80}")
    inherited = _inherited(origin, card)
    if inherited is None:
        if given is None:
            raise PublishError(
                "nothing tells the licence of these weights; name it, as license='mit' for example"
            )
        return LicenseTerms(license=given)
    if given in (None, inherited.license, inherited.license_name):
        return inherited
    if origin.published is not None:
        raise PublishError(
            f"these weights {'are' if origin.is_published else 'began with'} {origin.published.name}, whose "
            f"licence they keep ({origin.published.licence}), got license={given!r}; leave it out"
        )
    if stated_licence(card.metadata) is not None:
        raise PublishError(
            f"these weights' file says that they keep the licence {inherited.license_name or APACHE}, "
            f"got license={given!r}; leave it out, or set licence to None on a model of your own and save it "
            "again"
        )
    assert given is not None
    return LicenseTerms(license=given)


def _inherited(origin: Provenance, card: ModelCard) -> LicenseTerms | None:
    weights, name = origin.published, licence_of(card.source, card.format, card.metadata)
    if weights is not None:
        reason = f"of {weights.name}, which it {'is' if origin.is_published else 'began with'}"
        name = licence_of(weights.name, weights.layout, {})
    elif card.format == "apple":
        reason = "of the weights, whose tensors have Apple's names"
    else:
        reason = "of the weights, as their file says"
    if name is None:
        return None
    if name == APACHE:
        return LicenseTerms(license=APACHE, text=licence_text(APACHE), reason=reason)
    # Apple's own, and what timm and the reference port took over from them.
    return LicenseTerms(
        license="other",
        license_name="mobileone-license",
        link=APPLE_LINK,
        text=licence_text("apple"),
        reason=reason,
    )
