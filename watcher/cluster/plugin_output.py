"""Decodes the ExecCredential that a login plugin prints on stdout. It is secret: no value of it is ever quoted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import trio
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


# Seconds from the plugin's first byte until it is shown: a failing plugin has ended by then, a person waits gladly.
HOLD = 0.3
# Characters of a message: its beginning and its end, which is where programs say what went wrong.
FIRST_WORDS, LAST_WORDS = 1000, 1000
# Bytes that are shown at most; a plugin that writes for ever must not fill a terminal or a log.
MAX_SHOWN = 256 * 1024
CHUNK = 16 * 1024

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w.-]+|(?<=[Bb]earer )\S+")

Show = Callable[[bytes], Awaitable[None]]


class PluginWords:
    """`show` gets the bytes to show. `secrets` never appear in `text`."""

    def __init__(self, show: Show, secrets: Iterable[str] = ()) -> None:
        self.secrets = {secret for secret in secrets if len(secret) >= 8}
        self.shown = 0
        self._show = show
        self._first = self._last = b""
        self._held: list[bytes] = []
        self._dropped = False
        self._arrived = trio.Event()

    async def take(self, stream: trio.abc.ReceiveStream) -> None:
        """Reads to the end of the stream."""
        async for data in stream:
            room = max(0, 4 * FIRST_WORDS - len(self._first))
            self._first += data[:room]
            self._dropped = self._dropped or len(self._last) + len(data) - room > 4 * LAST_WORDS
            self._last = (self._last + data[room:])[-4 * LAST_WORDS :]
            left = MAX_SHOWN - self.shown - sum(map(len, self._held))
            if left > 0:
                self._held.append(bytes(data[:left]))
            self._arrived.set()

    async def show_live(self) -> None:
        """Shows what is written from HOLD seconds after the first byte on; until cancelled."""
        await self._arrived.wait()
        await trio.sleep(HOLD)
        while True:
            self._arrived = trio.Event()
            await self.show_rest()
            await self._arrived.wait()

    async def show_rest(self) -> None:
        """Shows what has not been shown."""
        data, self._held = b"".join(self._held), []
        self.shown += len(data)
        if data:
            await self._show(data)

    @property
    def text(self) -> str:
        """All words on one line, shortened in the middle where there are too many."""
        first, last = self.plain(self._first), self.plain(self._last)
        if not self._dropped:
            first, last = self.plain(self._first + self._last), ""
        if last or len(first) > FIRST_WORDS + LAST_WORDS:
            return f"{first[:FIRST_WORDS]} … {(last or first)[-LAST_WORDS:]}"
        return first

    def plain(self, data: bytes) -> str:
        """One line without colours and without what looks like a token."""
        text = _TOKEN.sub("***", _COLOUR.sub("", data.decode("utf-8", "replace")))
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())
