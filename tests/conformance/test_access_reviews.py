"""What a user may do, asked of the API server itself."""

from __future__ import annotations

import pytest

from tests.conformance.subjects import Subject

PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def question(verb: str, resource: str, namespace: str, subresource: str = "") -> dict[str, object]:
    attributes = {"verb": verb, "resource": resource, "namespace": namespace, "subresource": subresource}
    given = {name: value for name, value in attributes.items() if value}
    return {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": given}}


@pytest.mark.parametrize(
    ("verb", "resource", "subresource", "here", "allowed"),
    [
        ("list", "services", "", True, True),
        ("watch", "services", "", True, False),
        ("list", "services", "", False, False),
        ("create", "pods", "portforward", True, False),
    ],
)
async def test_a_user_asks_what_it_may_do(
    subject: Subject, verb: str, resource: str, subresource: str, *, here: bool, allowed: bool
) -> None:
    """The user that may only list services in its namespace: 201, what it asked, and the answer."""
    asked = question(verb, resource, subject.namespace if here else "", subresource)
    async with subject.server.client(subject.few) as client:
        answer = await client.post(PATH, json=asked)
    review = answer.json()
    assert answer.status_code == 201
    assert (review["kind"], review["apiVersion"]) == ("SelfSubjectAccessReview", "authorization.k8s.io/v1")
    assert review["spec"] == asked["spec"]
    assert review["status"]["allowed"] is allowed


async def test_nobody_may_not_even_ask(subject: Subject) -> None:
    """Asking takes an identity; the words are those of every refusal."""
    async with subject.server.client(admin=False) as client:
        answer = await client.post(PATH, json=question("list", "pods", subject.namespace))
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'selfsubjectaccessreviews.authorization.k8s.io is forbidden: User "system:anonymous" cannot create resource '
        '"selfsubjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope'
    )
