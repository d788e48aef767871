"""Makes the code print the quoted lines about pods that are missing, and about local ports."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import Any, cast

from msgspec.structs import replace

from forwarders.errors import BindError
from forwarders.listeners import _refusal, bind
from forwarders.spec import ForwardSpec, PortBook, PortPolicy, PortRequest
from tests.docs.quoted.scene import HERE, Scene, said
from tests.plan.made import RUN, SERVICES, USER, WEB, entry, only, planned, pod, workload
from tests.plan.test_endpoints import find
from tests.plan.test_ownership import SHARED, asked, owned
from tests.plan.test_unlisted import FACTS
from watcher.board.addresses import warn_beyond_loopback
from watcher.cluster.kinds import DEPLOYMENT, POD, STATEFUL_SET
from watcher.cluster.store import Snapshot, Watch


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
    warn_beyond_loopback(planned(WEB, modes=SERVICES, addresses=("10.0.0.1",)), set())
    return scene.logged


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


PRODUCERS = (nothing_ready, nothing_matches, belongs_to_others, missing, listing, exposed, taken, reserved, privileged)
