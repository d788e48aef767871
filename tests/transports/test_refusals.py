"""What answers other than 101 mean: the API server's, the kubelet's, and what proxies say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarders.errors import ForbiddenError, GatewayError, RefusedError, UpgradeError
from forwarders.transports.http import HttpResponse, refusal
from tests.transports.net import POD

FORBIDDEN = (
    'pods "web-1" is forbidden: User "ann" cannot create resource "pods/portforward" in API group "" in the namespace '
    '"shop"'
)


def answer(status: int, body: bytes, content: str = "text/plain; charset=utf-8") -> HttpResponse:
    return HttpResponse(status, {"content-type": content}, switched=False, rest=body)


def status(code: int, message: str) -> HttpResponse:
    body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    return answer(code, json.dumps(body).encode(), "application/json")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (status(401, "Unauthorized"), RefusedError),
        (status(403, FORBIDDEN), ForbiddenError),
        (status(403, 'pods "web-1" is forbidden: '), ForbiddenError),
        (status(403, "admission webhook says no"), RefusedError),
        (status(404, 'pods "web-1" not found'), RefusedError),
        (status(400, "pod web-1 does not have a host assigned"), RefusedError),
        (status(400, "Upgrade request required"), UpgradeError),
        (status(500, "error dialing backend: dial tcp 127.0.0.1:10250: connect: connection refused"), RefusedError),
        (status(429, "too many requests"), RefusedError),
        (answer(500, b'pod not found ("web-1_shop")'), RefusedError),
        (answer(500, b"invalid upgrade response: status code 200\n"), UpgradeError),
        (answer(403, b"unable to upgrade: unable to negotiate protocol: client supports [x]\n"), UpgradeError),
        (answer(400, b"unable to upgrade: no tunneling spdy protocols provided\n"), UpgradeError),
        (answer(401, b"<h1>log in</h1>", "text/html"), RefusedError),
        (answer(426, b""), UpgradeError),
        (answer(400, b"<h1>Bad Request</h1>", "text/html"), UpgradeError),
        (answer(403, b"<h1>blocked</h1>", "text/html"), UpgradeError),
        (answer(404, b"not here", "text/html"), UpgradeError),
        (answer(405, b""), UpgradeError),
        (answer(200, b"ok"), UpgradeError),
        (answer(501, b""), UpgradeError),
        (answer(500, b"<h1>oops</h1>", "text/html"), GatewayError),
        (answer(502, b"<h1>Bad Gateway</h1>", "text/html"), GatewayError),
        (answer(503, b""), GatewayError),
        (answer(504, b""), GatewayError),
    ],
)
def test_the_kind_of_a_refusal(given: HttpResponse, kind: type[RefusedError]) -> None:
    """A failure that is about the pod is never taken for one of the transport, nor the other way round."""
    error = refusal(POD, given)
    assert type(error) is kind
    assert error.status == given.status
    assert "shop/web-1" in str(error)


def test_the_missing_verb() -> None:
    """It is the server's word: from 1.35 on a GET may lack `create`."""
    error = refusal(POD, status(403, FORBIDDEN))
    assert isinstance(error, ForbiddenError)
    assert (error.verb, error.user) == ("create", "ann")


def test_a_text_is_one_short_line() -> None:
    """Of a plain text its first line; of a page for people nothing."""
    assert str(refusal(POD, answer(500, b'pod not found ("x")\nmore'))).endswith('HTTP 500: pod not found ("x")')
    assert len(str(refusal(POD, answer(400, b"x" * 9999)))) < 400
    assert "<" not in str(refusal(POD, answer(502, b"<h1>Bad Gateway</h1>", "text/html")))


@given(st.integers(100, 999), st.binary(max_size=200), st.sampled_from(["text/plain", "application/json", ""]))
def test_any_answer(code: int, body: bytes, content: str) -> None:
    """Whatever answers, it is a RefusedError."""
    assert isinstance(refusal(POD, answer(code, body, content)), RefusedError)
