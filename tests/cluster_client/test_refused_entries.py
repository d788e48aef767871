"""Users and clusters of a kubeconfig that nobody can use: refused when they are read, in one line, without a secret."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster_client.test_credentials import loaded
from tests.cluster_client.test_kubeconfig import SECRET, document, write
from watcher.cluster import credentials, tls
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import load_cluster_config
from watcher.errors import KubeconfigError


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"token": f"{SECRET}\nX-Evil: 1"}, "its authentication .* no HTTP header may have"),
        ({"token": f"{SECRET}é"}, "its authentication .* no HTTP header may have"),
        ({"token": SECRET, "as": ["root"]}, "as of user .* is not a text"),
        ({"token": SECRET, "as": "root\r\nX: y"}, "as of user .* no HTTP header may have"),
        ({"token": SECRET, "as-groups": ["system:masters"]}, "as of user .* is missing: as-uid, as-groups"),
        ({"token": SECRET, "as": "root", "as-groups": "one"}, "as-groups of user .* is not a list"),
        ({"token": SECRET, "as": "root", "as-user-extra": ["a"]}, "as-user-extra of user .* is not a mapping"),
        ({"client-certificate": f"{SECRET}\0"}, "client-certificate of user .* cannot be read"),
        ({"tokenFile": "gone"}, "tokenFile of user .* cannot be read: No such file"),
    ],
)
async def test_a_user_we_cannot_be_is_refused_without_showing_it(
    tmp_path: Path, user: dict[str, Any], said: str
) -> None:
    """Better no start than a start as someone else, and no secret in the one line that says so."""
    with pytest.raises(KubeconfigError, match=said) as raised:
        await loaded(tmp_path, user)
    assert "\n" not in str(raised.value)
    if "token" in user:
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"server": "https://a..b:6443"}, "server of cluster"),
        ({"server": "https://exa mple:6443"}, "server of cluster"),
        ({"server": f"https://{'x' * 64}.test"}, "server of cluster"),
        ({"server": "https://[::1"}, "server of cluster"),
        ({"server": "https://api.test:99999"}, "server of cluster"),
        ({"tls-server-name": "a..b"}, "tls-server-name of cluster"),
        ({"server": "https://api.test", "insecure-skip-tls-verify": "false"}, "is neither true nor false"),
        ({"server": "https://api.test", "insecure-skip-tls-verify": [1]}, "is neither true nor false"),
    ],
)
async def test_a_cluster_that_cannot_be_is_refused(tmp_path: Path, cluster: dict[str, Any], said: str) -> None:
    """Found when it is read, not as a traceback of the first request."""
    with pytest.raises(KubeconfigError, match=said):
        await loaded(tmp_path, {}, **cluster)


BOMB = "\n".join(["- &a0 [x]", *(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))])


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        *(({}, {name: "BOMB"}) for name in ("server", "tls-server-name", "proxy-url", "certificate-authority")),
        ({}, {"certificate-authority-data": "BOMB"}),
        *(({name: "BOMB"}, {}) for name in ("token", "tokenFile", "username", "client-key", "client-key-data")),
    ],
)
async def test_a_list_of_lists_costs_a_line(tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any]) -> None:
    """A few lines of aliases are gigabytes of text, which nobody writes out."""
    clusters = [{"name": "dev", "cluster": {"server": "https://api.test"} | cluster}]
    text = json.dumps(document(users=[{"name": "dev", "user": user}], clusters=clusters))
    path = write(tmp_path / "config", f"bomb:\n{BOMB}\n" + yaml.safe_dump(json.loads(text)).replace("BOMB", "*a29"))
    with pytest.raises(KubeconfigError, match="is not a text"):
        await load_cluster_config(str(path), None)


async def test_a_network_home_that_hangs_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate authority is a file too."""
    hung = threading.Event()
    monkeypatch.setattr(credentials, "FILES_WITHIN", 0.5)
    monkeypatch.setattr(tls, "client_context", lambda _: hung.wait(20))
    with pytest.raises(KubeconfigError, match="the kubeconfig's files were not read"), trio.fail_after(15):
        await loaded(tmp_path, {}, server="https://api.test")
    hung.set()


async def test_a_path_of_the_server_is_encoded(tmp_path: Path) -> None:
    """It goes into the first line of requests; what is encoded already stays."""
    config = await loaded(tmp_path, {}, server="http://api.test/a b/ü/%20/")
    assert config.server.prefix == "/a%20b/%C3%BC/%20"


async def test_a_variable_that_is_no_file_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system has against it, it is a kubeconfig that is not there."""
    monkeypatch.setenv("KUBECONFIG", "x" * 5000)
    with pytest.raises(KubeconfigError, match="there is no kubeconfig at x"):
        await load_cluster_config(None, None)


async def test_a_kubeconfig_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--kubeconfig=~/config` comes unexpanded from many shells."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "config", document())
    assert (await load_cluster_config("~/config", None)).context == "dev"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 70_000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
PLAIN = ("token", "tokenFile", "username", "password", "client-certificate", "client-key", "auth-provider")
DATA = ("client-certificate-data", "client-key-data")
# Nothing that could run.
EXEC = JSON | st.fixed_dictionaries({"command": st.just("/nonexistent/plugin")}, optional={"args": JSON})
TLS = ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify", "tls-server-name")
USER = st.fixed_dictionaries({}, optional={**dict.fromkeys(PLAIN + DATA, JSON), "exec": EXEC})
SERVER = st.just("https://api.test") | st.text(max_size=12) | JSON
CLUSTER = st.fixed_dictionaries({"server": SERVER}, optional=dict.fromkeys((*TLS, "proxy-url"), JSON))


@settings(deadline=None, max_examples=150)  # one import of `kubernetes` is among them
@given(user=USER, cluster=CLUSTER)
def test_any_user_and_cluster_are_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, user: dict[str, Any], cluster: dict[str, Any]
) -> None:
    """Whatever stands in the fields, there is a way to a server or one KubeconfigError of one line."""
    content = document(users=[{"name": "dev", "user": user}], clusters=[{"name": "dev", "cluster": cluster}])
    path = write(tmp_path_factory.mktemp("any") / "config", json.dumps(content))
    refusals = trio.run(_refusals, str(path))
    assert all("\n" not in refusal for refusal in refusals)


async def _refusals(path: str) -> list[str]:
    """Why no client can be made; nothing where one can."""
    try:
        async with ApiClient((await load_cluster_config(path, None)).server):
            return []
    except KubeconfigError as error:
        return [str(error)]
