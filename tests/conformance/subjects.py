"""What the conformance suite is run against: the embedded cluster, and the real one, behind the same few verbs.

Each has a namespace of its own with the standard pod: http on 8080, echo on 7000, late (2 s) on 7001, banner on 7002,
reset on 7003, nothing on 9999; and a user who may only list services there.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import trio

from fixtures.cluster.images import APP
from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import Rule
from fixtures.embedded.apps import standard
from fixtures.embedded.pod import Pod
from forwarders.transports.api_server import ApiServer, Headers
from tests.conformance.ways import Ways

CONTENT = "conformance"
POD = "app"
FEW = Rule(("list",), ("services",))
SEES = Rule(("get", "list", "watch"), ("pods",))
FORWARDING = "pods/portforward"
SECONDS = 60.0
ANY = ""

Holds = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Server:
    """Where the API server is; `admin` and `nobody` differ in the client certificate. `authority`: its PEM."""

    host: str
    port: int
    admin: ssl.SSLContext
    nobody: ssl.SSLContext
    authority: str

    def client(self, token: str = "", *, admin: bool = True) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = self.admin if admin and not token else self.nobody
        url = f"https://{self.host}:{self.port}"
        return httpx.AsyncClient(base_url=url, verify=context, headers=headers, timeout=SECONDS, trust_env=False)

    def api(self) -> ApiServer:
        """As the admin."""
        return ApiServer(self.host, self.port, "", self.admin, self.host, _no_headers)


async def _no_headers(_: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
    return []


class Subject(Protocol):
    """A cluster under test."""

    server: Server
    namespace: str
    few: str  # the token of the user with few rights
    few_name: str
    ways: Ways

    async def put_service(self, name: str, labels: dict[str, str]) -> None:
        """Create it, or change its labels."""

    async def delete_service(self, name: str) -> None: ...

    async def grant(self, name: str, *verbs: str) -> str:
        """The token of a new user who may see pods, and these verbs on pods/portforward."""

    async def add_pod(self, name: str, *, scheduled: bool = True) -> None:
        """Another standard pod; returns once it is Ready (or there, if it is not to be scheduled)."""

    async def delete_pod(self, name: str) -> None:
        """Returns once the object is gone."""


class EmbeddedSubject:
    def __init__(self, cluster: EmbeddedCluster, server: Server, namespace: str, ways: Ways) -> None:
        self.server = server
        self.ways = ways
        self.namespace = namespace
        self._cluster = cluster
        self._pods: dict[str, Pod] = {}
        self.few_name = f"system:serviceaccount:{namespace}:few"
        self.few = cluster.access.grant(self.few_name, Rule(FEW.verbs, FEW.resources, namespace))

    async def grant(self, name: str, *verbs: str) -> str:
        rules = Rule(SEES.verbs, SEES.resources, self.namespace), Rule(verbs, (FORWARDING,), self.namespace)
        return self._cluster.access.grant(name, *rules)

    async def put_service(self, name: str, labels: dict[str, str]) -> None:
        ports = [{"port": 80}]
        self._cluster.service(name, {"app": "none"}, ports, namespace=self.namespace, labels=labels)

    async def delete_service(self, name: str) -> None:
        self._cluster.delete("Service", name, namespace=self.namespace)

    async def add_pod(self, name: str, *, scheduled: bool = True) -> None:
        ports = standard(CONTENT)
        self._pods[name] = await self._cluster.pod(name, ports, namespace=self.namespace, scheduled=scheduled)

    async def delete_pod(self, name: str) -> None:
        await self._pods.pop(name).delete()


class RealSubject:
    """Through the real API; `prepare` once, before anything else."""

    def __init__(self, server: Server, namespace: str, ways: Ways) -> None:
        self.server = server
        self.namespace = namespace
        self.ways = ways
        self.few = ""
        self.few_name = f"system:serviceaccount:{namespace}:few"
        self._base = f"/api/v1/namespaces/{namespace}"

    async def prepare(self) -> None:
        await self._create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self.few = await self._account("few", FEW)
        await self.add_pod(POD)
        await self._until_may(self.few, "services")

    async def grant(self, name: str, *verbs: str) -> str:
        token = await self._account(name, SEES, Rule(verbs, (FORWARDING,)))
        await self._until_may(token, "pods")
        return token

    async def _account(self, name: str, *rules: Rule) -> str:
        """The token of a new service account with these rules in the namespace."""
        await self._create(f"{self._base}/serviceaccounts", {"metadata": {"name": name}})
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        written = [
            {"apiGroups": [""], "resources": list(rule.resources), "verbs": list(rule.verbs)}
            for rule in rules
            if rule.verbs
        ]
        await self._create(f"{rbac}/roles", {"metadata": {"name": name}, "rules": written})
        account = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        binding = {"metadata": {"name": name}, "subjects": [account], "roleRef": role}
        await self._create(f"{rbac}/rolebindings", binding)
        token = await self._create(f"{self._base}/serviceaccounts/{name}/token", {"spec": {}})
        given: str = token["status"]["token"]
        return given

    async def remove(self) -> None:
        async with self.server.client() as client:
            await client.delete(f"/api/v1/namespaces/{self.namespace}")

    async def put_service(self, name: str, labels: dict[str, str]) -> None:
        manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels}}
        spec = {"ports": [{"port": 80}], "selector": {"app": "none"}}
        # Server-side apply creates or changes.
        path = f"{self._base}/services/{name}?fieldManager=conformance&force=true"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        async with self.server.client() as client:
            answer = await client.patch(path, json=manifest | {"spec": spec}, headers=headers)
            answer.raise_for_status()

    async def delete_service(self, name: str) -> None:
        async with self.server.client() as client:
            (await client.delete(f"{self._base}/services/{name}")).raise_for_status()

    async def add_pod(self, name: str, *, scheduled: bool = True) -> None:
        await self._create(f"{self._base}/pods", _pod(name, scheduled=scheduled))
        if scheduled:
            await self._until_pod(name, ANY, _is_ready)

    async def delete_pod(self, name: str) -> None:
        async with self.server.client() as client:
            (await client.delete(f"{self._base}/pods/{name}?gracePeriodSeconds=1")).raise_for_status()
        await self._until_pod(name, "DELETED", lambda _: True)

    async def _create(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        async with self.server.client() as client:
            answer = await client.post(path, json=manifest)
            answer.raise_for_status()
            created: dict[str, Any] = answer.json()
            return created

    async def _until_pod(self, name: str, kind: str, holds: Holds) -> None:
        """Watch until the pod's event says so; what is so already counts too."""
        watch = f"{self._base}/pods?watch=1&fieldSelector=metadata.name%3D{name}"
        with trio.fail_after(SECONDS):
            async with self.server.client() as client:
                if kind == "DELETED" and (await client.get(f"{self._base}/pods/{name}")).status_code == 404:
                    return
                async with client.stream("GET", watch) as answer, trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_at, answer, kind, holds, nursery.cancel_scope)

    async def _until_may(self, token: str, kind: str) -> None:
        """The authorizer learns of a new role some milliseconds later, from a watch of its own."""
        with trio.fail_after(SECONDS):
            async with self.server.client(token) as client:
                while (await client.get(f"{self._base}/{kind}")).status_code != 200:  # noqa: ASYNC110 # it has no event for us
                    await trio.sleep(0.02)


async def _cancel_at(answer: httpx.Response, kind: str, holds: Holds, scope: trio.CancelScope) -> None:
    """Waits nowhere but inside httpx's nested generators, so that cancelling closes each of them."""
    async for line in answer.aiter_lines():
        event = json.loads(line)
        if (event["type"] == kind or kind == ANY) and holds(event["object"]):
            scope.cancel()


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _pod(name: str, *, scheduled: bool) -> dict[str, Any]:
    ports = {"ECHO_PORT": "7000", "LATE_PORT": "7001", "LATE_MS": "2000", "BANNER_PORT": "7002", "RESET_PORT": "7003"}
    environment = [{"name": key, "value": value} for key, value in (ports | {"CONTENT": CONTENT}).items()]
    container = {"name": "app", "image": APP, "imagePullPolicy": "Never", "env": environment}
    declared = [{"name": "http", "containerPort": 8080}]
    # Ready once it listens; without a probe it is Ready before that.
    probe = {"exec": {"command": ["/app", "probe"]}, "periodSeconds": 1}
    containers = [container | {"ports": declared, "readinessProbe": probe}]
    spec: dict[str, Any] = {"containers": containers, "automountServiceAccountToken": False}
    if not scheduled:
        spec["nodeSelector"] = {"no": "where"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
