"""Decodes the ExecCredential that a login plugin prints on stdout. It is secret: no value of it is ever quoted."""

from __future__ import annotations

import msgspec
from msgspec import Struct

# A credential is a token or a certificate with its key: some kilobytes.
MAX_OUTPUT = 1024 * 1024


class PluginCredential(Struct, frozen=True, rename="camel"):
    """The status of an ExecCredential."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: str | None = None

    def __repr__(self) -> str:
        return "PluginCredential(…)"


class _Printed(Struct, frozen=True, rename="camel"):
    kind: str
    api_version: str
    status: PluginCredential | None = None


def decoded(printed: bytes | bytearray, version: str) -> PluginCredential | str:
    """Its status, or what is wrong with it. `version`: the apiVersion that the kubeconfig asks for."""
    if len(printed) > MAX_OUTPUT:
        return f"it printed more than {MAX_OUTPUT >> 20} MiB"
    try:
        found = msgspec.json.decode(printed, type=_Printed)
    except msgspec.ValidationError as error:
        return f"what it printed is no ExecCredential: {error}"  # names types and fields, no value
    except (ValueError, RecursionError):
        return "what it printed is not JSON" if printed.strip() else "it printed nothing on stdout"
    status = found.status or PluginCredential()
    certificate, key = bool(status.client_certificate_data), bool(status.client_key_data)
    wrong = {
        "what it printed is no ExecCredential": found.kind != "ExecCredential",
        f"it did not answer in {version}, which the kubeconfig asks for": found.api_version != version,
        "it printed only one of clientCertificateData and clientKeyData": certificate != key,
        "it printed neither a token nor a certificate": not (status.token or certificate),
    }
    return next((text for text, so in wrong.items() if so), status)
