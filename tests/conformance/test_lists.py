"""Lists: pages, selectors, and the exact words of every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.conformance.subjects import POD, Subject

NAMES = [f"paged-{letter}" for letter in "abcde"]


async def get(
    subject: Subject, path: str, query: Mapping[str, str] | None = None, *, client: httpx.AsyncClient | None = None
) -> httpx.Response:
    """GET a path below the namespace of core objects, by default as the admin."""
    async with client or subject.server.client() as asking:
        return await asking.get(f"/api/v1/namespaces/{subject.namespace}/{path}", params=query)


def failure(code: int, message: str, reason: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message, "reason": reason, "code": code}
    return body if details is None else body | {"details": details}


@pytest.fixture
async def services(subject: Subject) -> list[str]:
    """Five services, labelled by number and, the first two, as early ones."""
    for number, name in enumerate(NAMES):
        await subject.put_service(
            name, {"suite": "pages", "number": str(number)} | ({"early": ""} if number < 2 else {})
        )
    return NAMES


async def test_pages_show_the_state_of_the_first(subject: Subject, services: list[str]) -> None:
    """A list in pages gives every object once at one revision, also what was deleted meanwhile."""
    query = {"limit": "2"}
    names, versions, remaining = [], set(), []
    while True:
        page = (await get(subject, "services", query)).json()
        names += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        remaining.append(page["metadata"].get("remainingItemCount"))
        if not page["metadata"].get("continue"):
            break
        if len(names) == 2:
            await subject.delete_service(services[-1])
        query["continue"] = page["metadata"]["continue"]
    assert names == services
    assert len(versions) == 1
    assert remaining == [3, 1, None]


async def test_items_of_a_list_name_no_kind(subject: Subject) -> None:
    """A list names its items' kind once, in its own."""
    listed = (await get(subject, "pods")).json()
    assert (listed["kind"], listed["apiVersion"]) == ("PodList", "v1")
    assert not {"kind", "apiVersion"} & listed["items"][0].keys()


@pytest.mark.parametrize(
    ("selector", "numbers"),
    [
        ("number=1", "1"),
        ("number==1", "1"),
        ("number!=1", "0234"),
        ("number in (0,3)", "03"),
        ("number notin (0,3)", "124"),
        ("early", "01"),
        ("!early", "234"),
        ("early=", "01"),
        ("early,number!=0", "1"),
    ],
)
async def test_label_selectors(subject: Subject, services: list[str], selector: str, numbers: str) -> None:
    """Each form of a label selector finds what Kubernetes finds."""
    listed = (await get(subject, "services", {"labelSelector": f"suite=pages,{selector}"})).json()
    assert "".join(item["metadata"]["labels"]["number"] for item in listed["items"]) == numbers
    assert "remainingItemCount" not in listed["metadata"]


async def test_field_selector_by_name(subject: Subject, services: list[str]) -> None:
    """One object is listed by its name."""
    listed = (await get(subject, "services", {"fieldSelector": f"metadata.name={services[2]}"})).json()
    assert [item["metadata"]["name"] for item in listed["items"]] == [services[2]]


async def test_a_running_pod_looks_ready(subject: Subject) -> None:
    """What portside reads of a pod stands where it stands in Kubernetes."""
    pod = (await get(subject, f"pods/{POD}")).json()
    conditions = {item["type"]: item["status"] for item in pod["status"]["conditions"]}
    assert (pod["kind"], pod["status"]["phase"], conditions["Ready"]) == ("Pod", "Running", "True")
    assert {"containerPort": 8080, "name": "http", "protocol": "TCP"} in pod["spec"]["containers"][0]["ports"]
    assert pod["status"]["containerStatuses"][0]["ready"] is True
    assert pod["metadata"].keys() >= {"uid", "resourceVersion", "creationTimestamp"}


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        ("pods/nope", {}, failure(404, 'pods "nope" not found', "NotFound", {"name": "nope", "kind": "pods"})),
        ("nothings", {}, failure(404, "the server could not find the requested resource", "NotFound", {})),
        (
            "pods",
            {"fieldSelector": "metadata.foo=x"},
            failure(400, "field label not supported: metadata.foo", "BadRequest"),
        ),
    ],
)
async def test_refusals(subject: Subject, path: str, query: dict[str, str], body: dict[str, Any]) -> None:
    """A wrong request gets the Status that Kubernetes sends, word for word."""
    answer = await get(subject, path, query)
    assert answer.json() == body
    assert answer.status_code == body["code"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ({"labelSelector": "a===b"}, "unable to parse requirement: "),
        ({"limit": "1", "continue": "abc"}, "invalid continue token: continue key is not valid: "),
    ],
)
async def test_unreadable_queries(subject: Subject, query: dict[str, str], start: str) -> None:
    """A query that cannot be read is a bad request that says which part."""
    body = (await get(subject, "pods", query)).json()
    assert (body["code"], body["reason"]) == (400, "BadRequest")
    assert body["message"].startswith(start)


async def test_a_revision_that_is_no_number(subject: Subject) -> None:
    """A watch from a revision that is no number is refused with 500 and no reason."""
    answer = await get(subject, "pods", {"watch": "1", "resourceVersion": "abc"})
    message = 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    assert answer.json() == status | {"message": message, "code": 500}


async def test_a_revision_of_the_future(subject: Subject) -> None:
    """A list that wants a newer state than there is gets 504 and its words."""
    answer = await get(subject, "pods", {"resourceVersion": "99999999"})
    body = answer.json()
    assert (answer.status_code, body["reason"]) == (504, "Timeout")
    assert body["message"].startswith("Timeout: Too large resource version: 99999999, current: ")
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    assert body["details"] == {"causes": [cause], "retryAfterSeconds": 1}


async def test_unknown_token(subject: Subject) -> None:
    """An unknown token is 401."""
    answer = await get(subject, "pods", client=subject.server.client("wrong"))
    assert answer.json() == failure(401, "Unauthorized", "Unauthorized")


async def test_no_credentials(subject: Subject) -> None:
    """No credentials at all are 403 for the anonymous user, not 401."""
    answer = await get(subject, "pods", client=subject.server.client(admin=False))
    where = f'in the namespace "{subject.namespace}"'
    message = f'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" {where}'
    assert answer.json() == failure(403, message, "Forbidden", {"kind": "pods"})


async def test_what_a_role_allows(subject: Subject) -> None:
    """A user gets what the role allows."""
    answer = await get(subject, "services", client=subject.server.client(subject.few))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "words", "details"),
    [
        (
            "GET",
            "/api/v1/namespaces/NS/pods",
            'pods is forbidden: U cannot list resource "pods" in API group "" IN',
            {"kind": "pods"},
        ),
        (
            "GET",
            "/api/v1/pods",
            'pods is forbidden: U cannot list resource "pods" in API group "" at the cluster scope',
            {"kind": "pods"},
        ),
        (
            "GET",
            "/api/v1/namespaces/NS/pods?watch=1",
            'pods is forbidden: U cannot watch resource "pods" in API group "" IN',
            {"kind": "pods"},
        ),
        (
            "GET",
            "/api/v1/namespaces/NS/pods/app",
            'pods "app" is forbidden: U cannot get resource "pods" in API group "" IN',
            {"name": "app", "kind": "pods"},
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/NS/deployments",
            'deployments.apps is forbidden: U cannot list resource "deployments" in API group "apps" IN',
            {"group": "apps", "kind": "deployments"},
        ),
        (
            "POST",
            "/api/v1/namespaces/NS/pods/app/portforward",
            'pods "app" is forbidden: U cannot create resource "pods/portforward" in API group "" IN',
            {"name": "app", "kind": "pods"},
        ),
        (
            "GET",
            "/api/v1/namespaces/NS/pods/app/portforward",
            'pods "app" is forbidden: U cannot get resource "pods/portforward" in API group "" IN',
            {"name": "app", "kind": "pods"},
        ),
    ],
)
async def test_forbidden(subject: Subject, method: str, path: str, words: str, details: dict[str, str]) -> None:
    """What a role does not allow is 403 and names user, verb, resource and place."""
    async with subject.server.client(subject.few) as client:
        answer = await client.request(method, path.replace("NS", subject.namespace))
    message = words.replace("U", f'User "{subject.few_name}"', 1).replace(
        "IN", f'in the namespace "{subject.namespace}"'
    )
    assert answer.json() == failure(403, message, "Forbidden", details)
