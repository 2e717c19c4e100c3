"""A certificate of one's own: for the address, kept, renewed in time, its key nobody else's."""

import datetime
import stat

import pytest

from mobileone.web import self_signed as module
from mobileone.web.self_signed import self_signed

x509 = pytest.importorskip("cryptography.x509", reason="needs the extra web")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path))
    return tmp_path


def test_it_is_for_the_address_and_for_no_longer_than_phones_take():
    made = x509.load_pem_x509_certificate(self_signed("192.168.0.7").path.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "192.168.0.7"}
    assert made.not_valid_after_utc - made.not_valid_before_utc < datetime.timedelta(days=400)
    named = x509.load_pem_x509_certificate(self_signed("laptop.local").path.read_bytes())
    names = named.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "laptop.local" in names.get_values_for_type(x509.DNSName)


def test_it_is_kept_and_its_key_is_its_owners():
    first = self_signed("::1")
    assert self_signed("::1") == first
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.path.parent.stat().st_mode) == 0o700


def test_one_that_is_damaged_or_about_to_end_is_made_anew(monkeypatch):
    first = self_signed("127.0.0.2")
    monkeypatch.setattr(module, "RENEW_DAYS", module.DAYS + 1)
    assert self_signed("127.0.0.2").fingerprint != first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("MOBILEONE_CACHE", str(first.path.parents[1]))
    first.path.write_bytes(b"damaged")
    assert self_signed("127.0.0.2").fingerprint != first.fingerprint
