"""The program itself against both clusters: `portside forward` finds the way that rights and proxies leave."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from fixtures.net.connect import ConnectProxy
from fixtures.net.gateway import Gateway
from tests.conformance.subjects import CONTENT, POD, Subject
from tests.support import pages
from tests.support.process import Portside, portside

PATIENCE = 60.0
NAME = "api.test"  # that only the proxy knows: loopback goes through no proxy of the environment's
NO_PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"), "")


class Stage:
    """A cluster, proxies beside it, and kubeconfigs that lead to it in one way or another."""

    def __init__(self, subject: Subject, nursery: trio.Nursery, folder: Path) -> None:
        self.subject = subject
        self._nursery = nursery
        self._path = folder / "kubeconfig"

    async def proxy(self, login: str = "") -> ConnectProxy:
        proxy = ConnectProxy(login=login, names={NAME: self.subject.server.host})
        await self._nursery.start(proxy.serve)
        return proxy

    async def gateway(self) -> Gateway:
        server = self.subject.server
        gateway = Gateway((server.host, server.port), server.admin)
        await self._nursery.start(gateway.serve)
        return gateway

    async def user(self, *verbs: str) -> tuple[str, str]:
        """Name and token of a user with these verbs on pods/portforward."""
        name = f"user-{uuid.uuid4().hex[:8]}"
        return name, await self.subject.grant(name, *verbs)

    def kubeconfig(self, token: str, **cluster: Any) -> str:
        server = self.subject.server
        url = f"https://{server.host}:{server.port}"
        fields = {"server": url, "certificate-authority-data": _base64(server.authority)}
        context = {"cluster": "it", "user": "it", "namespace": self.subject.namespace}
        config = {
            "clusters": [{"name": "it", "cluster": fields | cluster}],
            "users": [{"name": "it", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "it", "context": context}],
            "current-context": "it",
        }
        self._path.write_text(json.dumps(config))
        return str(self._path)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
async def stage(subject: Subject, tmp_path: Path) -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        yield Stage(subject, nursery, tmp_path)
        nursery.cancel_scope.cancel()


def forwarding(kubeconfig: str, **environment: str) -> Any:
    """`portside forward pod/app :8080`."""
    arguments = ("forward", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "-vv", f"pod/{POD}", ":8080")
    return portside(*arguments, environment=os.environ | NO_PROXIES | environment)


async def page(program: Portside) -> str:
    """The content that one new connection brings."""
    return await pages.page((await program.ready(POD, PATIENCE))["localPort"], PATIENCE)


@pytest.mark.parametrize("verb", ["create", "get"])
async def test_one_verb_is_enough(stage: Stage, verb: str) -> None:
    """With `create` alone by SPDY, with `get` alone by WebSocket; from Kubernetes 1.35 on `create` is needed."""
    _, token = await stage.user(verb)
    async with forwarding(stage.kubeconfig(token)) as program:
        if verb not in {"create", stage.subject.ways.websocket_verb}:
            await program.says("RBAC lacks create", PATIENCE)
            return
        assert await page(program) == CONTENT
    assert ("by WebSocket from now on" in program.stderr) is (verb == "get")


async def test_without_either_verb_both_are_named(stage: Stage) -> None:
    """The user reads who lacks what, and where."""
    name, token = await stage.user()
    async with forwarding(stage.kubeconfig(token)) as program:
        await program.says("RBAC lacks create (for SPDY) or get (for WebSocket) on pods/portforward", PATIENCE)
    said = next(line for line in program.stderr.splitlines() if "RBAC lacks" in line)
    assert name in said
    assert f"in namespace {stage.subject.namespace}" in said
    assert token not in program.stderr


async def test_through_proxy_url(stage: Stage) -> None:
    """Lists, watches and tunnels go through the kubeconfig's proxy, which wants a password; nobody gets to see it."""
    proxy = await stage.proxy("ann:s3cret")
    _, token = await stage.user("create")
    fields = {"proxy-url": f"http://ann:s3cret@127.0.0.1:{proxy.port}"}
    async with forwarding(stage.kubeconfig(token, **fields)) as program:
        assert await page(program) == CONTENT
    assert len(proxy.tunnels) >= 2
    assert proxy.refused == 0
    assert "s3cret" not in program.stderr


async def test_through_the_environments_proxy(stage: Stage) -> None:
    """HTTPS_PROXY alone leads to a server that only the proxy can find."""
    proxy = await stage.proxy()
    _, token = await stage.user(stage.subject.ways.websocket_verb)
    server = stage.subject.server
    fields = {"server": f"https://{NAME}:{server.port}", "tls-server-name": server.host}
    environment = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
    async with forwarding(stage.kubeconfig(token, **fields), **environment) as program:
        assert await page(program) == CONTENT
    assert set(proxy.tunnels) == {f"{NAME}:{server.port}"}


async def test_behind_a_gateway_that_drops_spdy(stage: Stage) -> None:
    """Over plain HTTP to an L7 proxy that knows WebSockets only: one SPDY upgrade is lost, no more are tried."""
    gateway = await stage.gateway()
    fields = {"server": f"http://127.0.0.1:{gateway.port}"}
    async with forwarding(stage.kubeconfig("", **fields)) as program:
        for _ in range(3):
            assert await page(program) == CONTENT
    assert gateway.dropped == 1
