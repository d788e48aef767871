"""A client certificate that has ended: which one, since when, and what to do."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster_client.test_client import answering
from tests.cluster_client.test_credentials import loaded
from watcher.cluster.tls import valid_until
from watcher.doctor.cluster import ClusterChecks
from watcher.doctor.local import ProjectFiles
from watcher.errors import RenewalError


def certificate(end: datetime) -> tuple[str, str]:
    """A client certificate that signs itself, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(1990, 1, 1, tzinfo=UTC)).not_valid_after(end)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    plain = serialization.NoEncryption()
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
    return pem, own


@pytest.mark.parametrize("year", [1991, 2024, 2049, 2050, 2999])
def test_the_end_is_read(year: int) -> None:
    """Both spellings of a time that certificates have."""
    end = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert valid_until(certificate(end)[0].encode()) == end


@given(st.binary(max_size=200))
def test_any_other_bytes_have_no_end(content: bytes) -> None:
    """Neither do they raise."""
    assert valid_until(content) is None
    found = valid_until(b"-----BEGIN CERTIFICATE-----\n" + content + b"\n-----END CERTIFICATE-----")
    assert found is None or found.tzinfo is UTC


async def test_an_expired_certificate_is_named_everywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start, by the request that is refused, and by doctor: user, context, file and date."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    pem, key = certificate(end)
    (tmp_path / "ann.crt").write_text(pem)
    (tmp_path / "ann.key").write_text(key)
    said = f'the client certificate of user "dev" (context "dev") expired on {end:%Y-%m-%d %H:%M} UTC'

    async def refuse(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with caplog.at_level(logging.WARNING):
        config = await loaded(tmp_path, {"client-certificate": "ann.crt", "client-key": "ann.key"})
    assert said in caplog.text
    assert str(tmp_path / "config") in caplog.text
    async with answering(refuse, authorize=config.server.authorize) as client:
        with pytest.raises(RenewalError, match="expired on"):
            await client.server_version()
    findings = await ClusterChecks(str(tmp_path / "config"), "", "", ProjectFiles(None, {})).kubeconfig_check()
    assert any(finding.level == "error" and said in str(finding) for finding in findings)
