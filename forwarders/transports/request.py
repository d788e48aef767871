"""Owns the request for a pod's port-forward endpoint, as far as both transports share it. Refuses upgrades."""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct

from forwarders.spec import PodRef
from forwarders.transports.proxy import authority
from forwarders.transports.server import ApiServer, Headers

# What runs inside: pairs of streams, as the runtime's port-forward handler knows them.
PROTOCOL = "portforward.k8s.io"


class Request(Struct, frozen=True):
    """`headers`: Host, User-Agent, credentials."""

    pod: PodRef
    target: str
    headers: Headers


def request(server: ApiServer, pod: PodRef, credentials: Headers) -> Request:
    return Request(
        pod=pod,
        target=f"{server.prefix}/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}/portforward",
        headers=[("Host", authority(server.host, server.port)), ("User-Agent", "portside"), *credentials],
    )
