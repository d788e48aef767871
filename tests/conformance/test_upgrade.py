"""Port forwarding until the upgrade: who is refused, with which code and words."""

from __future__ import annotations

import re

import pytest

from tests.conformance.subjects import POD, Subject

UPGRADE = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io"}
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "SPDY/3.1+portforward.k8s.io",
}


def path(subject: Subject, pod: str = POD) -> str:
    return f"/api/v1/namespaces/{subject.namespace}/pods/{pod}/portforward"


ASKED = pytest.mark.parametrize(
    ("method", "headers"), [("POST", UPGRADE), ("GET", WEBSOCKET)], ids=["SPDY", "WebSocket"]
)


@ASKED
async def test_unknown_pod(subject: Subject, method: str, headers: dict[str, str]) -> None:
    """A pod that is not there is 404, with a Status."""
    async with subject.server.client() as client:
        answer = await client.request(method, path(subject, "nope"), headers=headers)
    assert answer.status_code == 404
    assert answer.json()["message"] == 'pods "nope" not found'


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_upgrade(subject: Subject, method: str) -> None:
    """Without an upgrade it is a bad request."""
    async with subject.server.client() as client:
        answer = await client.request(method, path(subject))
    assert (answer.status_code, answer.json()["message"]) == (400, "Upgrade request required")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_protocol_in_common(subject: Subject, method: str) -> None:
    """A stream protocol that the runtime does not know is 403, and a header says which ones it does."""
    async with subject.server.client() as client:
        headers = UPGRADE | {"X-Stream-Protocol-Version": "foo"}
        answer = await client.request(method, path(subject), headers=headers)
    assert answer.status_code == 403
    assert answer.headers["x-accepted-stream-protocol-versions"] == "portforward.k8s.io"
    negotiation = "unable to negotiate protocol: client supports [foo], server accepts [portforward.k8s.io]"
    assert answer.text == f"unable to upgrade: {negotiation}\n"


@pytest.mark.parametrize(
    "headers",
    [{"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}, {"Connection": "Upgrade", "Upgrade": "foo"}],
    ids=["no stream protocol", "another upgrade"],
)
async def test_an_upgrade_that_the_runtime_does_not_make(subject: Subject, headers: dict[str, str]) -> None:
    """What the runtime answers without upgrading comes out as 500, and what the kubelet answers itself as 400."""
    code, text = subject.ways.not_upgraded
    async with subject.server.client() as client:
        answer = await client.post(path(subject), headers=headers)
    assert answer.status_code == code
    assert re.fullmatch(text, answer.text)


@ASKED
async def test_a_pod_without_a_node(subject: Subject, method: str, headers: dict[str, str]) -> None:
    """A pod that is not scheduled is a bad request."""
    name = f"unscheduled-{method.lower()}"
    await subject.add_pod(name, scheduled=False)
    async with subject.server.client() as client:
        answer = await client.request(method, path(subject, name), headers=headers)
    message = f"pod {name} does not have a host assigned"
    assert (answer.status_code, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("method", "headers", "verb"), [("POST", UPGRADE, "create"), ("GET", WEBSOCKET, "get")], ids=["SPDY", "WebSocket"]
)
async def test_the_verb_of_an_upgrade(subject: Subject, method: str, headers: dict[str, str], verb: str) -> None:
    """POST is `create` and GET is `get` on pods/portforward: each is refused without its own."""
    async with subject.server.client(subject.few) as client:
        answer = await client.request(method, path(subject), headers=headers)
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        f'pods "{POD}" is forbidden: User "{subject.few_name}" cannot {verb} resource "pods/portforward" in API group '
        f'"" in the namespace "{subject.namespace}"'
    )


async def test_a_websocket_that_tunnels_nothing(subject: Subject) -> None:
    """Without a protocol that it knows the runtime's older kind of WebSocket answers, and wants ports."""
    async with subject.server.client() as client:
        answer = await client.get(path(subject), headers=WEBSOCKET | {"Sec-WebSocket-Protocol": "chat"})
    assert (answer.status_code, answer.text) == (400, 'query parameter "port" is required')
