"""`portside forward` exits with code 1 when no target can ever work, like kubectl, and not before."""

from __future__ import annotations

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import ADMIN, Rule
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.cli.made import NAMESPACE, Place
from tests.support.process import Portside, portside

READ = Rule(("get", "list", "watch"), ("services", "pods", "endpointslices", "events"))


def forwarding(place: Place, *words: str, output: str = "json"):  # type: ignore[no-untyped-def] # an async context manager
    return portside("forward", *words, environment=place.environment, folder=place.folder, output=output)


async def make(cluster: EmbeddedCluster) -> None:
    """Adds services: one with UDP only, one without pods, one whose target port no container declares."""
    cluster.service("dns", {"app": "web"}, [{"port": 53, "protocol": "UDP"}], namespace=NAMESPACE)
    cluster.service("late", {"app": "late"}, [{"port": 8080}], namespace=NAMESPACE)
    ports = [{"port": 80, "targetPort": "grpc"}]
    cluster.service("named", {"app": "web"}, ports, namespace=NAMESPACE)


HOPELESS = [
    (("svc/web", ":81"), "service web has no port 81 (it has 8080)"),
    (("svc/web", ":https"), "service web has no port https"),
    (("svc/dns", ":53"), "port 53 is UDP"),
    (("svc/named", ":80"), "declares a port named grpc"),
    (("svc/wbe", ":80"), "wbe"),
    (("svc/wbe", ":80", "pod/nothing", ":80"), "nothing"),
    (("svc/web", ":81", "svc/dns", ":53", "svc/wbe", ":80"), "service web has no port 81"),
]


@pytest.mark.parametrize(("words", "reason"), HOPELESS, ids=[" ".join(words) for words, _ in HOPELESS])
@pytest.mark.parametrize("output", ["plain", "json"])
async def test_what_can_never_work(
    cluster: EmbeddedCluster, place: Place, words: tuple[str, ...], reason: str, output: str
) -> None:
    """The exit code is 1 with the reason; a command of --exec is not run."""
    await make(cluster)
    async with forwarding(place, *words, output=output) as program:
        assert await program.wait() == 1
        assert reason in _all(program)
    async with forwarding(place, *words, "--exec", "touch ran", output=output) as program:
        assert await program.wait() == 1
        assert reason in program.stderr
    assert not await trio.Path(place.folder / "ran").exists()


@pytest.mark.parametrize("rules", [(), (READ,)], ids=["nothing", "no port-forward"])
async def test_what_rbac_forbids(cluster: EmbeddedCluster, place: Place, rules: tuple[Rule, ...]) -> None:
    """A missing permission to read the objects, or to open a session, ends it."""
    cluster.access.restrict(ADMIN, *rules)
    async with forwarding(place, "svc/web", ":8080") as program:
        assert await program.wait() == 1
        assert "forbidden" in _all(program) or "pods/portforward" in _all(program)
    async with forwarding(place, "svc/web", ":8080", "--exec", "touch ran") as program:
        assert await program.wait() == 1
    assert not await trio.Path(place.folder / "ran").exists()


async def test_of_several_the_others_go_on(cluster: EmbeddedCluster, place: Place) -> None:
    """Targets that cannot work do not stop one that does; --exec is not run, since not all is ready."""
    await make(cluster)
    bad = ("svc/wbe", ":80", "svc/web", ":81", "svc/dns", ":53")
    async with forwarding(place, *bad, "svc/web", ":8080") as program:
        await program.ready("web", remotePort=8080)
        await program.wait_for(lambda records: any(record["kind"] == "skip" for record in records))
        missing = program.last("wbe")
        assert missing is not None
        assert (missing["state"], "does not exist" in missing["reason"]) == ("failed", True)
        assert await program.end() == 0
    for one in (bad[:2], bad[2:4], bad[4:]):
        async with forwarding(place, *one, "svc/web", ":8080", "--exec", "touch ran") as program:
            assert await program.wait() == 1
    assert not await trio.Path(place.folder / "ran").exists()


async def test_what_may_still_come_is_waited_for(cluster: EmbeddedCluster, place: Place) -> None:
    """It waits for a first pod, and for an object that was deleted while it waited or served."""
    await make(cluster)
    async with forwarding(place, "svc/late", ":8080") as program:
        await program.wait_for(lambda _: (program.last("late") or {}).get("state") == "listening")
        await program.wait_for(lambda records: {"kind": "plan", "settled": True}.items() <= records[-1].items())
        cluster.delete("Service", "late", namespace=NAMESPACE)
        await program.wait_for(lambda _: (program.last("late") or {}).get("state") == "failed")
        await make(cluster)
        await cluster.deployment("late", [Port(8080, web("late"), "http")], namespace=NAMESPACE)
        await program.ready("late")
        cluster.delete("Service", "late", namespace=NAMESPACE)
        await program.wait_for(lambda _: (program.last("late") or {}).get("state") == "failed")
        await make(cluster)
        await program.ready("late")
        assert await program.end() == 0


def _all(program: Portside) -> str:
    return f"{program.stderr} {program.records} {program.others}"
