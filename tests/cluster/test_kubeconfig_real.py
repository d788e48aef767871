"""A kubeconfig that is rewritten beside the real API server: another port, user and proxy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.net.socks import SocksProxy
from fixtures.net.way import Way
from tests.chaos.causes import api_server, kubeconfig
from tests.support import pages
from tests.support.objects import apply, deployment, namespace, rolled_out, service
from tests.support.process import portside

pytestmark = pytest.mark.cluster

PATIENCE = 60.0


async def test_the_api_server_moves_to_another_port(bed: Bed, tmp_path: Path) -> None:
    """The old port is gone for good; the forward keeps its own, and follows a rollout seen at the new one."""
    with namespace(bed, "moving"):
        apply(bed, "moving", deployment("web"), service("web"))
        rolled_out(bed, "moving", "web")
        old, new = Way(api_server(bed)), Way(api_server(bed))
        async with trio.open_nursery() as nursery:
            gone = trio.CancelScope()

            async def serve_old(*, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
                with gone:
                    await old.serve(task_status=task_status)

            await nursery.start(serve_old)
            await nursery.start(new.serve)
            config = kubeconfig(bed, tmp_path / "config", old.port)
            words = ("forward", f"--kubeconfig={config}", "-n", "moving", "svc/web", ":8080")
            async with portside(*words) as program:
                port = (await program.ready("web"))["localPort"]
                assert await pages.page(port, PATIENCE)
                gone.cancel()
                old.cut()
                kubeconfig(bed, config, new.port)
                await program.says(f"is now at https://127.0.0.1:{new.port}")
                await trio.to_thread.run_sync(bed.kubectl, "-n", "moving", "rollout", "restart", "deployment/web")
                await trio.to_thread.run_sync(rolled_out, bed, "moving", "web")
                assert await pages.page(port, PATIENCE)
                assert program.last("web", localPort=port, state="ready")
            nursery.cancel_scope.cancel()


async def test_as_another_user_through_a_socks_proxy(bed: Bed, tmp_path: Path) -> None:
    """`as` and `as-groups` count for lists, watches and sessions; all of them go through the proxy."""
    with namespace(bed, "acting"):
        apply(bed, "acting", deployment("web"), service("web"))
        rolled_out(bed, "acting", "web")
        proxy = SocksProxy(login="ann:s3cret")
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.serve)
            url = f"socks5://ann:s3cret@127.0.0.1:{proxy.port}"
            for user, group, allowed in (("ann", "system:masters", True), ("bea", "nobodies", False)):
                config = kubeconfig(bed, tmp_path / "config")
                content = json.loads(config.read_text())
                content["clusters"][0]["cluster"]["proxy-url"] = url
                content["users"][0]["user"] |= {"as": user, "as-groups": [group]}
                config.write_text(json.dumps(content))
                arguments = ("forward", f"--kubeconfig={config}", "-n", "acting", "svc/web", ":8080")
                async with portside(*arguments) as program:
                    if allowed:
                        port = (await program.ready("web"))["localPort"]
                        assert await pages.page(port, PATIENCE)
                    else:
                        refusal = f'User "{user}" cannot'
                        await program.wait_for(lambda records: refusal in program.stderr + str(records))  # noqa: B023
            nursery.cancel_scope.cancel()
    assert len(proxy.tunnels) >= 3
