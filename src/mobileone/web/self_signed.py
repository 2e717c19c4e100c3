"""A certificate that this machine signs itself, kept so that a phone that accepted it once knows it again."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.atomic import atomic_path
from mobileone.cache import cache_dir
from mobileone.distribution import pip_install
from mobileone.errors import MissingExtraError

if TYPE_CHECKING:
    from cryptography import x509

DAYS = 398  # phones refuse what is valid for longer
UTC = datetime.timezone.utc  # noqa: UP017, as the runtime's wheel is for Python 3.10 too
RENEW_DAYS = 14


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for one address.

    Attributes:
        path: PEM with its private key, readable by its owner alone.
        fingerprint: SHA-256, pairs of hexadecimal digits as browsers show them.
    """

    path: Path
    fingerprint: str


def check_tls_installed() -> None:
    """Raise where no certificate could be made.

    Raises:
        MissingExtraError: without the extra `web`.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"TLS needs cryptography ({error}); {pip_install('web')}") from error


def self_signed(address: str) -> Certificate:
    """The certificate for an address, made where there is none that is still good.

    Args:
        address: IP address or name that browsers will open.

    Raises:
        MissingExtraError: without the extra `web`.
        MobileOneError: if the cache cannot be written.
    """
    check_tls_installed()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    path = cache_dir() / "certificates" / f"{address.replace(':', '_')}.pem"
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        left = certificate.not_valid_after_utc - datetime.datetime.now(UTC)
        is_good = left > datetime.timedelta(days=RENEW_DAYS)
    except (OSError, ValueError):
        is_good = False
    if not is_good:
        certificate = _make(address, path)
    return Certificate(path, certificate.fingerprint(hashes.SHA256()).hex(":").upper())


def _make(address: str, path: Path) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mobileone on this network")])
    alternatives: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    try:
        alternatives.append(x509.IPAddress(ipaddress.ip_address(address)))
    except ValueError:
        alternatives.append(x509.DNSName(address))
    now = datetime.datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # a phone's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with atomic_path(path) as temporary:
        path.parent.chmod(0o700)  # the key is nobody else's
        temporary.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o600)
    return certificate
