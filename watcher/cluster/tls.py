"""Makes SSL contexts from a kubeconfig: the trusted authorities and the client certificate, with its end date.

Field names are the kubeconfig's. `-data` wins over a file, as in client-go's rest/config.go.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn

from msgspec import Struct

from forwarders.system.files import secret_file
from watcher import user_files
from watcher.cluster.kubeconfig import SelectedContext
from watcher.errors import KubeconfigError

logger = logging.getLogger("portside.cluster")


class ClientCertificate(Struct, frozen=True):
    """A client certificate and its key in PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "ClientCertificate(…)"


def client_context(selected: SelectedContext) -> ssl.SSLContext:
    """The SSL context for the API server of a context. Raises KubeconfigError."""
    context = _trusting(selected, also_system=False)
    context.set_alpn_protocols(["http/1.1"])
    if not context.check_hostname:
        logger.warning(
            'cluster "%s" has insecure-skip-tls-verify: any server at its address can read and change everything',
            selected.cluster_name,
        )
    return context


def proxy_context(selected: SelectedContext) -> ssl.SSLContext:
    """The SSL context for an https proxy of a context. Sends no client certificate. Raises KubeconfigError."""
    return _trusting(selected, also_system=True)


def _trusting(selected: SelectedContext, *, also_system: bool) -> ssl.SSLContext:
    """An SSL context that trusts the cluster's authority (also or else the system's), or any server if it says so."""
    field, authority = _pem(selected, "cluster", "certificate-authority")
    data = authority.decode("ascii", "ignore") if authority else None
    try:
        context = ssl.create_default_context(cadata=None if also_system else data)
        if also_system and data:
            context.load_verify_locations(cadata=data)
    except (ssl.SSLError, ValueError):
        selected.refuse("cluster", field, "is not a certificate in PEM")
    # Python 3.13 requires extensions that clusters' own authorities often lack. kubectl does not.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    insecure = selected.cluster.get("insecure-skip-tls-verify")
    if not isinstance(insecure, bool | None):
        selected.refuse("cluster", "insecure-skip-tls-verify", "is neither true nor false")
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def use_chain(context: ssl.SSLContext, chain: ClientCertificate, selected: SelectedContext) -> None:
    """Use this client certificate on new connections of an SSL context. Raises KubeconfigError."""
    try:
        with secret_file(chain.certificate.rstrip() + b"\n" + chain.key) as name:
            context.load_cert_chain(name, password=_refuse_password)
    except (ssl.SSLError, ValueError) as error:
        reason = (getattr(error, "reason", None) or "not PEM, or with a password").lower().replace("_", " ")
        selected.refuse("user", "client-certificate, client-key", f"cannot be used: {reason}")
    except OSError as error:
        problem = f"cannot be used: OpenSSL reads them from a file only, and none can be written: {error.strerror}"
        selected.refuse("user", "client-certificate, client-key", problem)


def chain_of(selected: SelectedContext) -> ClientCertificate | None:
    """Read the client certificate of the user; None without one. Raises KubeconfigError."""
    _, certificate = _pem(selected, "user", "client-certificate")
    field, key = _pem(selected, "user", "client-key")
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        selected.refuse(
            "user", "client-certificate" if certificate is None else field, "is missing, but its other half is given"
        )
    return ClientCertificate(certificate, key)


def authority_of(selected: SelectedContext) -> str:
    """The cluster's authority in base64, for login plugins; "" if there is none or it cannot be read."""
    with suppress(KubeconfigError):
        return base64.b64encode(_pem(selected, "cluster", "certificate-authority")[1] or b"").decode()
    return ""


def _pem(selected: SelectedContext, entry: str, field: str) -> tuple[str, bytes | None]:
    """The field of the kubeconfig that has a value, and the PEM that it gives."""
    if data := selected.text(entry, f"{field}-data"):
        try:
            return f"{field}-data", base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError):
            selected.refuse(entry, f"{field}-data", "is not base64")
    if file := selected.text(entry, field):
        try:
            return field, user_files.read_bytes(file, user_files.SECRET)
        except OSError as error:
            selected.refuse(entry, field, f"({file}) cannot be read: {error.strerror}")
    return field, None


def _refuse_password() -> NoReturn:
    """Refuses a key that needs a password, instead of OpenSSL's question on the terminal; so does kubectl."""
    raise ValueError("encrypted")


_PEM = rb"(?s)-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----"
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


def valid_until(pem: bytes) -> datetime | None:
    """The end date of the first certificate in PEM, which is the client's; None if it cannot be read.

    The standard library decodes only a peer's certificate. RFC 5280, 4.1: the first part of a certificate holds
    version, serial number, algorithm, issuer and validity.
    """
    found = re.search(_PEM, pem)
    if found is None:
        return None
    with suppress(binascii.Error, ValueError, IndexError):
        return _valid_until(base64.b64decode(b"".join(found[1].split())))
    return None


def _valid_until(der: bytes) -> datetime:
    _, certificate, _ = _element(der)
    _, left, _ = _element(certificate)
    tag, _, after = _element(left)
    if tag == _VERSION:
        left = after
    for _ in range(3):  # serial number, algorithm, issuer
        _, _, left = _element(left)
    _, validity, _ = _element(left)
    _, _, left = _element(validity)  # not before
    tag, text, _ = _element(left)
    return _time(tag, text.decode("ascii"))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and content of a DER element, and the bytes after it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return tag, data[start : start + length], data[start + length :]


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits: 1950 to 2049
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    if len(text) != len("YYYYMMDDhhmmssZ"):
        raise ValueError("no time of RFC 5280")
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").astimezone(UTC)  # strptime would cost a start 5 ms
