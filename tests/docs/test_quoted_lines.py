"""Every line that docs/troubleshooting.md quotes is what the code prints: each is produced here, and compared.

A new quote needs a producer here: whatever makes the code say it, with as little around it as will do.
"""

from __future__ import annotations

import errno
import logging
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace
from trio.testing import MockClock

from fixtures.embedded import EmbeddedCluster, statuses
from fixtures.embedded import kinds as served_kinds
from forwarders.backoff import TURN, RetryLimiter
from forwarders.errors import BrokenOffError, ForbiddenError, ProxyError, TransportError
from forwarders.listeners import BindError, _refusal, bind
from forwarders.spec import ForwardSpec, PodRef, PortBook, PortPolicy, PortRequest, State
from forwarders.transports.opener import Transport, _combined
from forwarders.transports.proxy import Proxy, connect_through
from forwarders.transports.server import ApiServer
from tests.cluster_client.memory_api import SERVER, no_headers
from tests.cluster_client.test_bounds import Endless
from tests.cluster_client.test_credentials import a_login
from tests.forwarders.cluster import endpoint, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.test_fleet import SPEC, Running
from tests.plan.made import RUN, SERVICES, USER, WEB, entry, only, planned, pod, workload
from tests.plan.test_endpoints import find
from tests.plan.test_ownership import SHARED, asked, owned
from tests.plan.test_unlisted import FACTS
from tests.skaffold.peer import Port
from tests.skaffold.test_attachment import bench
from tests.support.process import PORTSIDE, portside
from watcher.board.addresses import BindWarnings
from watcher.cli.beside import Beside
from watcher.cli.configured import Configured
from watcher.cli.lookup import SLOW, looked_up
from watcher.cluster.authority import CredentialProvider, expired
from watcher.cluster.causes import why
from watcher.cluster.client import ApiClient
from watcher.cluster.following import _Follower
from watcher.cluster.kinds import DEPLOYMENT, POD, STATEFUL_SET
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.login import Credentials
from watcher.cluster.plugin import ExecEntry, _Run
from watcher.cluster.reflector import Reflector
from watcher.cluster.store import Snapshot, Store, Watch
from watcher.cluster.tls import ClientCertificate
from watcher.cluster.wire import ApiStatus, RequestInfo, api_error
from watcher.config.skaffold_yaml import Project, load
from watcher.config.targets import parse_targets
from watcher.errors import ApiUnreachableError, ConfigError, KubeconfigError
from watcher.skaffold.http_request import ApiAddress
from watcher.skaffold.stream import Probes

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
QUOTES = re.findall(r"^> (.+)$", PAGE.read_text(), re.MULTILINE)
HERE = "127.0.0.1"
BARE = {"PATH": "/nowhere"}
SELECTED = SelectedContext("/kube/config", "dev", "default", "dev", {"server": "http://api.test:8001"}, "me", {})


class Scene:
    """What producers need of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stream = StringIO()

    @contextmanager
    def logging(self) -> Iterator[None]:
        """What is logged meanwhile is kept."""
        handler, root = logging.StreamHandler(self._stream), logging.getLogger("portside")
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)

    @property
    def logged(self) -> str:
        return self._stream.getvalue()

    def command(self, *words: str, **more: str) -> str:
        """What a command prints, in a world without Skaffold, cluster and other portsides."""
        environment = {**BARE, "HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder), **more}
        done = subprocess.run(
            [PORTSIDE, *words],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr


# Skaffold


async def no_skaffold(scene: Scene) -> str:
    async with bench() as at_work:
        while not at_work.seen:
            await trio.testing.wait_all_tasks_blocked()
    return at_work.seen[-1].problem


async def stands_still(scene: Scene) -> str:
    return str(Probes(Port().dial, ApiAddress(HERE, 50051)).stuck())


async def forwards_itself(scene: Scene) -> str:
    beside = cast(Any, Beside.__new__(Beside))
    beside._warned, beside.host = False, MagicMock()
    own = SimpleNamespace(resource_type="service")
    with suppress(AttributeError):  # what is shown of it needs more
        beside._publish_own({}, {"own": own})
    return scene.logged


async def broken_edit(scene: Scene) -> str:
    file = scene.folder / "skaffold.yaml"
    file.write_text("apiVersion: skaffold/v4beta13\nkind: Config\n")
    project = Project(filename=str(file), binary=None)
    configured = cast(Any, Configured.__new__(Configured))
    configured._project, configured._environ, configured._seen = project, {}, {}
    configured._loaded = SimpleNamespace(sources=(file,))
    file.write_text("apiVersion: [\n")
    await configured._reload()
    return scene.logged


async def needs_skaffold(scene: Scene) -> str:
    file = scene.folder / "skaffold.yaml"
    file.write_text("apiVersion: skaffold/v99\nkind: Config\n")
    return await said(load(Project(filename=str(file), binary=None), {}), ConfigError)


# The cluster


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

    await said(CredentialProvider(a_login("Bearer old"), None, failing)(True), KubeconfigError)  # noqa: FBT003
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

    provider = CredentialProvider(a_login("Bearer old"), None, again)
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
        reflector = Reflector(client, store.cache_for(watch), Random(), RetryLimiter(TURN), lambda: datetime.now(UTC))
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


# The plan


async def nothing_ready(scene: Scene) -> str:
    return find(workload(DEPLOYMENT), 8080, pod("web-0", ready=False)).waiting_for


async def nothing_matches(scene: Scene) -> str:
    return find(workload(DEPLOYMENT), 8080).waiting_for


async def belongs_to_others(scene: Scene) -> str:
    items = [workload(STATEFUL_SET, selector=SHARED), owned("other-0", "Job", "other")]
    return only(planned(items, **cast(Any, asked(STATEFUL_SET)))).waiting_for


async def missing(scene: Scene) -> str:
    return only(planned([], entries=(entry(),), modes=USER, run_id=RUN, context_namespace="default")).broken


async def listing(scene: Scene) -> str:
    from watcher.plan.verdicts import not_listed  # noqa: PLC0415 - beside its only use

    return not_listed(Watch(POD, "default"), replace(FACTS, cluster=Snapshot())).waiting_for


async def exposed(scene: Scene) -> str:
    BindWarnings().warn(planned(WEB, modes=SERVICES, addresses=("10.0.0.1",)))
    return scene.logged


# Ports


async def taken(scene: Scene) -> str:
    with socket.create_server((HERE, 0)) as holder:
        return await said(bind(port_spec(PortPolicy.DEMANDED, holder.getsockname()[1]), PortBook()), BindError)


async def reserved(scene: Scene) -> str:
    with socket.create_server((HERE, 0)) as probe:
        port = probe.getsockname()[1]
    book = PortBook()
    book.reserve([replace(port_spec(PortPolicy.EXPLICIT, port), id="other", group="other")])
    with ExitStack() as stack:
        bound = await bind(port_spec(PortPolicy.PREFERRED, port), book)
        for sock in bound.sockets:
            stack.enter_context(sock)
        return bound.remark


async def privileged(scene: Scene) -> str:
    return await _refusal(HERE, 80, OSError(errno.EACCES, "Permission denied"), PortBook())


def port_spec(ask: PortPolicy, number: int) -> ForwardSpec:
    return ForwardSpec(id="one", address=HERE, port=PortRequest(ask, number), group="one")


# Connections


@asynccontextmanager
async def forwarding(hold: float, clients: int, app: Callable[[PeerStream], Awaitable[None]]) -> AsyncIterator[Running]:
    """A forward whose only pod runs `app`, with so many clients for three seconds."""
    async with trio.open_nursery() as nursery:
        running = Running(nursery)
        running.pods.apps["a"] = app
        async with trio.open_nursery() as inner:
            await inner.start(running.fleet.run)
            port = await running.start(endpoint("a"), spec=replace(SPEC, hold=hold))
            await running.until(State.READY)
            running.pods.failure = "no further session"
            with ExitStack() as stack:
                for _ in range(clients):
                    stack.enter_context(socket.create_connection((HERE, port))).sendall(b"x")
                await trio.sleep(3)
                yield running
            inner.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def silent(stream: PeerStream) -> None:
    await stream.receive_some()


async def nothing_listens(scene: Scene) -> str:
    async with forwarding(60, 2, refusing) as running:
        return running.statuses[-1].reason


async def given_up(scene: Scene) -> str:
    async with forwarding(1, 1, refusing) as running:
        return running.fleet.counters()["one"].last_error


async def sessions_in_use(scene: Scene) -> str:
    async with forwarding(60, 12, silent) as running:
        return running.statuses[-1].reason


# Commands


async def which_skaffold(scene: Scene) -> str:
    return scene.command("watch")


async def no_kubeconfig(scene: Scene) -> str:
    return scene.command("forward", "svc/web", "80", KUBECONFIG="/nowhere/config")


async def no_portside(scene: Scene) -> str:
    return scene.command("status")


async def not_seen(scene: Scene) -> str:
    async with EmbeddedCluster.open() as cluster:
        kubeconfig = cluster.kubeconfig(scene.folder / "kubeconfig")
        environment = {**BARE, "XDG_RUNTIME_DIR": str(scene.folder), "HOME": str(scene.folder)}
        await cluster.deployment("web", [])
        words = ("forward", f"--kubeconfig={kubeconfig}", "deployment/web", ":80")
        async with portside(*words, environment=environment, folder=scene.folder) as running:
            await running.wait_for(lambda records: any(one["kind"] == "plan" for one in records))
            return await trio.to_thread.run_sync(scene.command, "explain", "svc/nobody")


async def said(work: Awaitable[object], kind: type[Exception]) -> str:
    """The text of the error that it ends with."""
    with pytest.raises(kind) as caught:
        await work
    return str(caught.value)


PRODUCERS: tuple[Callable[[Scene], Awaitable[str]], ...] = (
    no_skaffold,
    which_skaffold,
    no_kubeconfig,
    unreachable,
    silent_at_the_start,
    silent_server,
    not_accepted,
    slow_plugin,
    not_renewed,
    expired_certificate,
    edited_kubeconfig,
    not_seen,
    nothing_ready,
    nothing_matches,
    belongs_to_others,
    missing,
    listing,
    taken,
    reserved,
    privileged,
    nothing_listens,
    given_up,
    sessions_in_use,
    untrusted,
    rbac_of_both,
    forbidden,
    no_transport,
    refusing_proxy,
    stands_still,
    forwards_itself,
    broken_edit,
    needs_skaffold,
    exposed,
    no_portside,
)
# These speak to a real process, whose time is not the mock clock's.
REAL_TIME = {not_seen, unreachable, edited_kubeconfig, broken_edit, needs_skaffold, taken, reserved}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the code prints, by the producer that made it do so; what went wrong, where it did not."""
    texts: dict[str, str] = {}
    for produce in PRODUCERS:
        clock = None if produce in REAL_TIME else MockClock(autojump_threshold=0)
        scene = Scene(tmp_path_factory.mktemp(produce.__name__))
        with scene.logging():
            try:
                texts[produce.__name__] = trio.run(produce, scene, clock=clock)
            except Exception as error:  # noqa: BLE001 - it fails the quotes that need it, and no other
                texts[produce.__name__] = f"{produce.__name__} failed: {error!r}"
    return texts


def pattern(quote: str) -> re.Pattern[str]:
    """The quote's words in their order, anything for each `…`, on one line."""
    return re.compile(".+".join(re.escape(part) for part in quote.split("…") if part))


@pytest.mark.parametrize("quote", QUOTES)
def test_what_is_quoted_is_printed(quote: str, printed: dict[str, str]) -> None:
    """By one of the producers."""
    assert any(pattern(quote).search(text) for text in printed.values()), printed


@pytest.mark.parametrize("produce", PRODUCERS)
def test_what_is_produced_is_quoted(produce: Callable[[Scene], Awaitable[str]], printed: dict[str, str]) -> None:
    """Nothing is produced here that the page does not quote, or that failed."""
    text = printed[produce.__name__]
    assert any(pattern(quote).search(text) for quote in QUOTES), text
