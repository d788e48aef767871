"""Reads until when a certificate in PEM is valid.

The standard library decodes only the certificate of a peer. RFC 5280, 4.1: a certificate is a sequence whose first
part holds version, serial number, algorithm, issuer, and then the validity.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


def valid_until(pem: bytes) -> datetime | None:
    """The end of the first certificate, which is the client's own; None where it cannot be read."""
    found = _PEM.search(pem)
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
    """Tag, content, and what follows."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return tag, data[start : start + length], data[start + length :]


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits of a year, from 1950 to 2049
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
