"""Owns the question of whether we may do something: a SelfSubjectAccessReview (authorization.k8s.io/v1), which every
authenticated user may ask.

Refuses to conclude anything from the answer.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from watcher.cluster import wire
from watcher.cluster.client import ApiClient

PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Action(Struct, frozen=True, omit_defaults=True):
    """ResourceAttributes of the API. `namespace` "": in all of them."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""

    @property
    def thing(self) -> str:
        """As RBAC writes it: `pods/portforward`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class _Spec(Struct, frozen=True, rename="camel"):
    resource_attributes: Action


class _Question(Struct, frozen=True, rename="camel"):
    spec: _Spec
    api_version: str = "authorization.k8s.io/v1"
    kind: str = "SelfSubjectAccessReview"


class _ReviewStatus(Struct, frozen=True):
    allowed: bool = False


class _ReviewResult(Struct, frozen=True):
    status: _ReviewStatus


async def is_allowed(client: ApiClient, action: Action) -> bool:
    """Raises ClusterError."""
    asked = wire.RequestInfo("create", "selfsubjectaccessreviews")
    body = await client.create(asked, PATH, msgspec.json.encode(_Question(_Spec(action))))
    return wire.decode(body, _ReviewResult, asked).status.allowed
