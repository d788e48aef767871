"""Makes the code print the quoted lines about the API server, credentials and sessions."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fixtures.embedded import kinds as served_kinds
from fixtures.embedded import statuses
from forwarders.backoff import TURN, RetryLimiter
from forwarders.errors import BrokenOffError, ForbiddenError, ProxyError, TransportError
from forwarders.spec import PodRef
from forwarders.transports.api_server import ApiServer
from forwarders.transports.opener import Transport, _combined
from forwarders.transports.proxy import Proxy, connect_through
from tests.cluster_client.memory_api import SERVER, no_headers
from tests.cluster_client.test_bounds import Endless
from tests.cluster_client.test_credentials import a_login
from tests.docs.quoted.scene import HERE, Scene, said
from watcher.cli.cluster_source import SLOW, looked_up
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import _Follower
from watcher.cluster.credential_provider import CredentialProvider, expired
from watcher.cluster.credentials import Credentials
from watcher.cluster.kinds import POD
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.meta_v1 import ApiStatus, RequestInfo, api_error
from watcher.cluster.network import why
from watcher.cluster.plugin import ExecEntry, _Run
from watcher.cluster.reflector import Reflector
from watcher.cluster.store import Store, Watch, WatchCache
from watcher.cluster.tls import ClientCertificate
from watcher.config.targets import parse_targets
from watcher.errors import ApiUnreachableError, KubeconfigError

SELECTED = SelectedContext("/kube/config", "dev", "default", "dev", {"server": "http://api.test:8001"}, "me", {})


async def unreachable(scene: Scene) -> str:
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
    async with ApiClient(ApiServer(HERE, port, "", None, HERE, no_headers)) as client:
        return await said(client.list(Watch(POD, "default")), ApiUnreachableError)


async def not_accepted(scene: Scene) -> str:
    return str(api_error(ApiStatus(code=401), RequestInfo("list", "pods")))


async def slow_plugin(scene: Scene) -> str:
    with trio.move_on_after(20):
        await _Run(SELECTED, ExecEntry("aws"), starting=False)._notice(60)
    return scene.logged


async def not_renewed(scene: Scene) -> str:
    async def failing() -> Credentials:
        raise KubeconfigError("log in again")

    await said(CredentialProvider(a_login("Bearer old"), failing)(True), KubeconfigError)  # noqa: FBT003
    return scene.logged


async def expired_certificate(scene: Scene) -> str:
    key, name, day = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), timedelta(days=1)
    begun = x509.CertificateBuilder(name, name, key.public_key(), 1).not_valid_before(datetime.now(UTC) - 2 * day)
    built = begun.not_valid_after(datetime.now(UTC) - day).sign(key, hashes.SHA256())
    pem = built.public_bytes(Encoding.PEM)
    return expired(Credentials(SELECTED, "", ClientCertificate(pem, b""), None))


async def edited_kubeconfig(scene: Scene) -> str:
    async def moved(server: ApiServer) -> None:
        """Nothing follows."""

    async def again() -> Credentials:
        return a_login("Bearer new")

    provider = CredentialProvider(a_login("Bearer old"), again)
    config = cast(Any, SimpleNamespace(credentials=provider, selected=SELECTED))
    follower = _Follower(config, moved)
    await follower._move(SELECTED)
    return scene.logged


async def silent_at_the_start(scene: Scene) -> str:
    targets = parse_targets(("svc/web", "80"), namespace="shop", addresses=("127.0.0.1",))
    with trio.move_on_after(SLOW + 1):
        async with ApiClient(SERVER, Endless()) as client:
            await looked_up({"": client}, targets)
    return scene.logged


async def silent_server(scene: Scene) -> str:
    store = Store(lambda: None)
    watch = Watch(POD, "default")
    async with ApiClient(SERVER, Endless()) as client:
        reflector = Reflector(client, WatchCache(store, watch), Random(), RetryLimiter(TURN), lambda: datetime.now(UTC))
        with trio.move_on_after(SLOW + 1):
            await reflector.run()
    return store.snapshot.problems[watch].text


async def untrusted(scene: Scene) -> str:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"
    return why(error)


async def rbac_of_both(scene: Scene) -> str:
    lacking = {one: ForbiddenError("", verb, "me") for one, verb in zip(Transport, ("create", "get"), strict=True)}
    return str(_combined(PodRef("shop", "web-1", ""), dict[Transport, TransportError](lacking)))


async def no_transport(scene: Scene) -> str:
    return str(
        _combined(PodRef("shop", "web-1", ""), {one: BrokenOffError(f"{one.value} failed") for one in Transport})
    )


async def forbidden(scene: Scene) -> str:
    target = served_kinds.Target(served_kinds.BY_NAME["Deployment"], "default")
    return str(statuses.forbidden("me", "list", target).body["message"])


async def refusing_proxy(scene: Scene) -> str:
    class Refusing:
        async def send(self, data: bytes) -> None:
            """Taken."""

        async def receive(self) -> bytes:
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"

    return await said(connect_through(Refusing(), Proxy("proxy.test", 3128, None), "api.test", 6443), ProxyError)


PRODUCERS = (
    unreachable,
    not_accepted,
    slow_plugin,
    not_renewed,
    expired_certificate,
    edited_kubeconfig,
    silent_at_the_start,
    silent_server,
    untrusted,
    rbac_of_both,
    no_transport,
    forbidden,
    refusing_proxy,
)
