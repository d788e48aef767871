"""Owns what an answer other than an upgrade means: whether it is about the pod, about rights, or about this transport.

Refuses IO. The API server speaks in Status objects; texts of the kubelet and the runtime come through it as they are; a
proxy says what it likes. Measured on 1.34 (docs/design/wire.md).
"""

from __future__ import annotations

import re

import msgspec

from forwarders.errors import ForbiddenError, GatewayError, RefusedError, UpgradeError
from forwarders.spec import PodRef
from forwarders.transports.http import Answer

# What API server, kubelet and runtime say of an upgrade that did not reach them whole, or that they do not make.
_NO_UPGRADE = re.compile(r"upgrade request required|invalid upgrade|unable to upgrade|websocket: ", re.IGNORECASE)
# The kubelet's own, without a Status: about the pod.
_POD = re.compile(r"pod not found|container not found|sandbox", re.IGNORECASE)
_RIGHTS = re.compile(r'User "(?P<user>[^"]*)" cannot (?P<verb>[a-z]+) resource')
# From Kubernetes 1.35 on, a WebSocket needs `create` as well. RBAC refuses without a reason.
_NO_REASON = re.compile(r'^pods "[^"]*" is forbidden: ?$')
# A gateway without, or at odds with, what is behind it; and "later".
_GATEWAY = {408, 429, 500, 502, 503, 504}
# Of a text that is no Status; the first line has to do.
MAX_TEXT = 200


class _Status(msgspec.Struct):
    kind: str = ""
    message: str = ""


def refusal(pod: PodRef, answer: Answer) -> RefusedError:
    """The error that the answer stands for."""
    status = _status(answer.rest)
    plain = answer.rest.decode("utf-8", "replace")
    said = status.message or _one_line(answer, plain)
    text = f"the API server refused port forwarding to pod {pod.namespace}/{pod.name}: {said}"
    if _NO_UPGRADE.search(status.message or plain):
        return UpgradeError(text, answer.status)
    if status.kind == "Status":
        return _denial(status.message, text) if answer.status == 403 else RefusedError(text, answer.status)
    if answer.status == 401 or _POD.search(plain):
        return RefusedError(text, answer.status)
    kind = GatewayError if answer.status in _GATEWAY else UpgradeError
    return kind(f"no upgrade for pod {pod.namespace}/{pod.name}: {said} from a proxy on the way", answer.status)


def _denial(message: str, text: str) -> RefusedError:
    """A 403 of the API server: RBAC's, with the verb that is missing, or an admission plugin's."""
    if rights := _RIGHTS.search(message):
        return ForbiddenError(text, rights["verb"], rights["user"])
    if _NO_REASON.match(message):
        return ForbiddenError(f"{text}RBAC lacks create on pods/portforward", "create", "")
    return RefusedError(text, 403)


def _status(body: bytes) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        return _Status()


def _one_line(answer: Answer, text: str) -> str:
    line = text.strip().partition("\n")[0][:MAX_TEXT]
    plain = answer.headers.get("content-type", "").startswith("text/plain")
    return f"HTTP {answer.status}: {line}" if plain and line else f"HTTP {answer.status}"
