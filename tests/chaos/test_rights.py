"""Rights that go and come back: a revoked token until the kubeconfig has a new one, a removed role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.cluster.errors import BrokenError
from fixtures.cluster.processes import wait_for
from fixtures.net.way import Way
from tests.chaos.causes import PATIENCE, api_server, in_thread, kubeconfig
from tests.chaos.scene import APPS, Scene, scene

pytestmark = pytest.mark.cluster

ACCOUNT = "forwarder"
ROLES = ("reading", "forwarding")
PORT_FORWARD = ("pods", "--subresource=portforward")


@dataclass(frozen=True)
class Account:
    """A service account in the apps' namespace with the rights that portside needs, and a revocable token."""

    bed: Bed
    space: str

    def kubectl(self, *arguments: str) -> str:
        return self.bed.kubectl("-n", self.space, *arguments)

    def make(self) -> None:
        self.kubectl("create", "serviceaccount", ACCOUNT)
        reading = ("--resource=pods,services,deployments.apps,replicasets.apps,endpointslices.discovery.k8s.io",)
        self.kubectl("create", "role", "reading", "--verb=get,list,watch", *reading)
        self.kubectl("create", "role", "forwarding", "--verb=get,create", "--resource=pods/portforward")
        self.give_roles()

    def remove(self) -> None:
        for kind, names in (("rolebinding", ROLES), ("role", ROLES), ("serviceaccount", (ACCOUNT,))):
            self.kubectl("delete", kind, *names, "--ignore-not-found")

    def give_roles(self) -> None:
        for role in ROLES:
            self.kubectl("create", "rolebinding", role, f"--role={role}", f"--serviceaccount={self.space}:{ACCOUNT}")

    def take_roles(self) -> None:
        self.kubectl("delete", "rolebinding", *ROLES)
        self._wait_until("no", lambda: self._may("create", *PORT_FORWARD))

    def wait_for_roles(self) -> None:
        self._wait_until("yes", lambda: self._may("watch", "pods"))
        self._wait_until("yes", lambda: self._may("create", *PORT_FORWARD))

    def token(self, name: str) -> dict[str, str]:
        """A user with a token that is valid while the secret of this name exists."""
        self.kubectl("create", "secret", "generic", name)
        bound = ("--bound-object-kind=Secret", f"--bound-object-name={name}")
        return {"token": self.kubectl("create", "token", ACCOUNT, *bound).strip()}

    def revoke(self, name: str, user: dict[str, str]) -> None:
        """Returns when the API server, which caches tokens for 10 s, refuses the token."""
        self.kubectl("delete", "secret", name)

        def refused() -> bool:
            try:
                self.kubectl("--kubeconfig=/dev/null", f"--server={self.bed.state.server}", *self._trust, *_as(user))
            except BrokenError as error:
                return "Unauthorized" in str(error) or "logged in" in str(error)
            return False

        wait_for("revoke the token", refused, PATIENCE)

    @property
    def _trust(self) -> tuple[str, ...]:
        return (f"--certificate-authority={self.bed.layout.certs}/ca.crt",)

    def _may(self, *what: str) -> str:
        identity = f"--as=system:serviceaccount:{self.space}:{ACCOUNT}"
        return self.bed.kubectl("-n", self.space, "auth", "can-i", *what, identity, check=False).strip()

    def _wait_until(self, word: str, said: Callable[[], str]) -> None:
        wait_for(f"rights: {word}", lambda: said() == word, PATIENCE)


def _as(user: dict[str, str]) -> tuple[str, ...]:
    return (f"--token={user['token']}", "get", "pods")


@pytest.fixture
def account(bed: Bed, space: str) -> Iterator[Account]:
    found = Account(bed, space)
    found.make()
    yield found
    found.remove()


@dataclass(frozen=True)
class Place:
    """What a cause here can use."""

    scene: Scene
    account: Account
    way: Way
    user: dict[str, str]
    config: Path


@asynccontextmanager
async def token_revoked(place: Place) -> AsyncIterator[None]:
    """Over when the kubeconfig has a new token."""
    await in_thread(place.account.revoke, "first", place.user)
    place.way.cut()
    yield
    fresh = await in_thread(place.account.token, "second")
    kubeconfig(place.scene.bed, place.config, place.way.port, fresh)


@asynccontextmanager
async def roles_taken(place: Place) -> AsyncIterator[None]:
    """Open watches and sessions would continue without the roles, so all are cut and must be opened again."""
    await in_thread(place.account.take_roles)
    place.way.cut()
    yield
    await in_thread(place.account.give_roles)
    await in_thread(place.account.wait_for_roles)


@asynccontextmanager
async def roles_taken_unasked(place: Place) -> AsyncIterator[None]:
    """Nothing is cut, so nothing is requested."""
    await in_thread(place.account.take_roles)
    yield
    await in_thread(place.account.give_roles)
    await in_thread(place.account.wait_for_roles)


Cause = Callable[[Place], AbstractAsyncContextManager[None]]
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("cause", "seconds", "spared"),
    [
        pytest.param(token_revoked, 1.0, ()),
        pytest.param(token_revoked, 60.0, (), marks=LONG),
        pytest.param(roles_taken, 2.0, ()),
        pytest.param(roles_taken, 60.0, (), marks=LONG),
        pytest.param(roles_taken_unasked, 60.0, APPS, marks=LONG),
    ],
)
async def test_rights_that_go_and_come(
    bed: Bed,
    space: str,
    account: Account,
    tmp_path: Path,
    cause: Cause,
    seconds: float,
    spared: tuple[str, ...],
) -> None:
    """What needs the rights waits; what does not, continues."""
    way = Way(api_server(bed))
    user = account.token("first")
    try:
        async with trio.open_nursery() as nursery:
            config = kubeconfig(bed, tmp_path / "config", await nursery.start(way.serve), user)
            async with scene(bed, space, config) as it:
                place = Place(it, account, way, user, config)
                name = cause.__name__.replace("_", " ")
                await it.endure(f"{name}, {seconds:.0f} s", cause(place), seconds, spared=spared)
            nursery.cancel_scope.cancel()
    finally:
        bed.kubectl("-n", space, "delete", "secret", "first", "second", "--ignore-not-found")
