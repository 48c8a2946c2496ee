"""X.509 certificates of a company's own authority: made, read, taken back.

Keys are on the curve P-256: mosquitto 2.0 on OpenSSL 3 takes Ed25519 too, but secure elements and other
readers' TLS libraries often know only P-256. Fields and extensions as RFC 5280 wants them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from glancein.errors import SettingsError

HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
LONGEST_NAME = 64  # RFC 5280, ub-common-name
# A kiosk without a battery-backed clock starts a little in the past: its certificate must not be too new.
BACKDATED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says."""

    common_name: str
    serial: str  # hexadecimal
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate to be made. ``hosts`` are the names and addresses of a broker; clients have none."""

    common_name: str
    days: int
    hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both in PEM form."""

    certificate: bytes
    key: bytes

    @property
    def facts(self) -> Facts:
        """What the certificate says."""
        return read_facts(self.certificate)


def make_authority(name: str, *, days: int, now: datetime) -> Pair:
    """A new root that signs certificates and revocation lists, and no further authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    built = (
        _begun(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(built.public_bytes(Encoding.PEM), _pem(key))


def issue(authority: Pair, wanted: Wanted, *, now: datetime) -> Pair:
    """A new key and its certificate; one with hosts may serve as well as call. Raises SettingsError."""
    root, root_key = _opened(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _begun(_name(wanted.common_name), root.subject, key.public_key(), now, wanted.days)
    if wanted.hosts:
        uses.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
        names = x509.SubjectAlternativeName([_host(host) for host in wanted.hosts])
        builder = builder.add_extension(names, critical=False)
    built = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(_authority_key(root), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return Pair(built.public_bytes(Encoding.PEM), _pem(key))


def revocation_list(authority: Pair, revoked: Iterable[tuple[str, datetime]], *, now: datetime) -> bytes:
    """The list of certificates (serial in hexadecimal, since when) that no longer count, in PEM form.

    It is good for as long as the authority, from its first day on: OpenSSL refuses *every* client once a list
    has expired, and as long as it is not valid yet, which that of a clock a little ahead would be.
    """
    root, key = _opened(authority)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.subject)
        .last_update(root.not_valid_before_utc)
        .next_update(root.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(_authority_key(root), critical=False)
    )
    for serial, since in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(since)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def revoked_serials(pem: bytes) -> frozenset[str]:
    """The serials (hexadecimal) on a revocation list; raises SettingsError."""
    try:
        return frozenset(f"{entry.serial_number:x}" for entry in x509.load_pem_x509_crl(pem))
    except ValueError as err:
        raise SettingsError("the revocation list is not one in PEM form") from err


def read_facts(pem: bytes) -> Facts:
    """Name, serial and dates of a certificate; raises SettingsError."""
    try:
        found = x509.load_pem_x509_certificate(pem)
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as err:
        raise SettingsError("that is not a certificate in PEM form") from err
    name = names[0].value if names else ""
    return Facts(
        name if isinstance(name, str) else name.decode(errors="replace"),
        f"{found.serial_number:x}",
        found.not_valid_before_utc,
        found.not_valid_after_utc,
    )


def check_host(text: str) -> str:
    """A name or address that a certificate can be made for; raises SettingsError."""
    _host(text)
    return text


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _name(text: str) -> x509.Name:
    if len(text) > LONGEST_NAME:
        raise SettingsError(
            f"the name {text[:70]!r} is longer than the {LONGEST_NAME} a certificate can hold"
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not HOST_NAME.fullmatch(text):
        raise SettingsError(f"{text!r} is not the name or address of a machine, such as broker.example")
    return x509.DNSName(text)


def _opened(authority: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        key = load_pem_private_key(authority.key, password=None)
        root = x509.load_pem_x509_certificate(authority.certificate)
    except (ValueError, TypeError) as err:
        raise SettingsError("the authority's certificate or key is damaged; take both from a copy") from err
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != root.public_key():
        raise SettingsError("the authority's key does not belong to its certificate; take both from a copy")
    return root, key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
