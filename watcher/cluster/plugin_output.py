"""What a login plugin prints: its ExecCredential on stdout, and its text on stderr.

The credential is secret: no message quotes a value of it. The text of a plugin that fails at once is only in the error;
that of one that continues (a prompt, a device code) is shown live.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import trio
from msgspec import Struct

from watcher.errors import one_line

# Bytes of stdout. A credential is a token, or a certificate with its key: some kilobytes.
MAX_OUTPUT = 1024 * 1024


class PluginCredential(Struct, frozen=True, rename="camel"):
    """What a login plugin returns: the status of an ExecCredential."""

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
    """Decode a plugin's output: its status, or what is wrong with it. `version`: the kubeconfig's apiVersion."""
    if len(printed) > MAX_OUTPUT:
        return f"it printed more than {MAX_OUTPUT >> 20} MiB"
    try:
        found = msgspec.json.decode(printed, type=_Printed)
    except msgspec.ValidationError as error:
        return f"its output is not an ExecCredential: {error}"  # it names types and fields, no value
    except (ValueError, RecursionError):
        return "its output is not JSON" if printed.strip() else "it printed nothing on stdout"
    status = found.status or PluginCredential()
    certificate, key = bool(status.client_certificate_data), bool(status.client_key_data)
    wrong = {
        "its output is not an ExecCredential": found.kind != "ExecCredential",
        f"its output is not in {version}, the apiVersion in the kubeconfig": found.api_version != version,
        "it printed only one of clientCertificateData and clientKeyData": certificate != key,
        "it printed neither a token nor a certificate": not (status.token or certificate),
    }
    return next((text for text, so in wrong.items() if so), status)


# Seconds from the first byte until it is shown: a plugin that fails has ended by then.
HOLD = 0.3
# Characters of a long text in an error: its beginning and its end, where programs state the problem.
FIRST_WORDS, LAST_WORDS = 1000, 1000
# Bytes that are shown: an endless plugin must not fill a terminal or a log.
MAX_SHOWN = 256 * 1024

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECRET = re.compile(r"eyJ[\w.-]{9,}|(?<=[Bb]earer )\S+|(?<=PRIVATE KEY-----)[^-]+")


class PluginWords:
    """A plugin's output on stderr, kept and shown. `show` prints bytes. `secrets` never appear in `text`."""

    def __init__(self, show: Callable[[bytes], Awaitable[None]], secrets: Iterable[str] = ()) -> None:
        self.secrets = {secret for secret in secrets if len(secret) >= 8}
        self.shown = 0
        self._show = show
        self._first = bytearray()
        self._last = b""
        self._arrived = trio.Event()

    async def take(self, stream: trio.abc.ReceiveStream) -> None:
        """Read the plugin's stderr to its end."""
        async for data in stream:
            room = MAX_SHOWN - len(self._first)
            self._first += data[:room]
            self._last = (self._last + data[room:])[-4 * LAST_WORDS :]
            self._arrived.set()

    async def show_live(self) -> None:
        """Shows output as it arrives, from HOLD seconds after the first byte. Runs until cancelled."""
        await self._arrived.wait()
        await trio.sleep(HOLD)
        while True:
            self._arrived = trio.Event()
            await self.show_rest()
            await self._arrived.wait()

    async def show_rest(self) -> None:
        """Shows the output that has not been shown."""
        data, self.shown = bytes(self._first[self.shown :]), len(self._first)
        if data:
            await self._show(data)

    @property
    def text(self) -> str:
        """The plugin's text on one line, shortened in the middle."""
        return one_line(self.plain(self._first + self._last), FIRST_WORDS, LAST_WORDS)

    def plain(self, data: bytes | bytearray) -> str:
        """The text for an error message: one line, without colours and without anything that looks like a token."""
        text = _SECRET.sub("***", _COLOUR.sub("", data.decode("utf-8", "replace")))
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())
