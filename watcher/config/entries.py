"""The values that a configuration consists of: a project, its entries, its rules. Checks each part of them alone.

It reads no files and does not know which objects exist in the cluster.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from fnmatch import fnmatchcase

from msgspec import Struct

from forwarders.spec import MAX_PORT, PortPolicy, PortRequest, port_number
from watcher.cluster.kinds import BY_NAME, KINDS, Kind
from watcher.errors import ConfigError, did_you_mean, shown

DEFAULT_ADDRESS = "127.0.0.1"
DEFAULT_FILE = "skaffold.yaml"
# The Docker deployer's resource type; everything else is a Kubernetes kind.
CONTAINER = "container"
# Characters of an object's name, at most.
_NAME_LENGTH = 253

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?"
# apimachinery pkg/labels/selector.go and pkg/util/validation: a qualified name, and a value of up to 63 characters.
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}"
_VALUE = rf"(?:{_WORD})?"
_SET = rf"\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
_ONE = rf"(?:!\s*{_KEY}|{_KEY}(?:\s*(?:==|=|!=)\s*{_VALUE}|\s+(?:in|notin)\s+{_SET})?)"
_SELECTOR = rf"\s*{_ONE}(?:\s*,\s*{_ONE})*\s*"


class DirectMode(Enum):
    """Whether connections go to a pod's own address instead of through the API server (`--direct`)."""

    AUTO = "auto"  # if this process is proven to run inside the cluster's network
    ALWAYS = "always"  # the user says that the addresses are reachable
    NEVER = "never"


class Entry(Struct, frozen=True, kw_only=True):
    """One thing to forward, as a user wrote it. `source`: user or direct; `origin`: where it was written, for messages.

    `kind` is the kind's singular in lower case, `resource_type` is as written. `namespace` "": not known yet.
    `addresses` (): the default ones. `context`: the kube-context, "" for the default one.
    `selector`: labels, as the API takes them, instead of a `name` (""). `open_path`: the path that the browser opens
    when the forward is ready; "" to open none.
    """

    source: str
    origin: str
    kind: str
    resource_type: str
    name: str
    namespace: str
    port: int | str
    local_port: PortRequest
    addresses: tuple[str, ...] = ()
    selector: str = ""
    context: str = ""
    open_path: str = ""


class BadEntry(Struct, frozen=True):
    """An entry that cannot be forwarded, and why. The other entries are not affected."""

    origin: str
    resource_type: str
    name: str
    namespace: str
    port: int | str
    reason: str


class RuleTarget(Struct, frozen=True):
    """The target that rules are matched with. `kind`: the singular; `ports`: number and name of its one port."""

    kind: str
    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: tuple[int | str, ...]


class Rule(Struct, frozen=True, kw_only=True):
    """Matches a target that has everything named here. `name` and `namespace` may be shell globs; "" and None: any.

    `origin`: file and line, for messages.
    """

    origin: str
    kind: str = ""
    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = {}
    port: int | str | None = None

    def matches(self, target: RuleTarget) -> bool:
        return (
            self.kind in {"", target.kind}
            and fnmatchcase(target.name, self.name or "*")
            and fnmatchcase(target.namespace, self.namespace or "*")
            and self.labels.items() <= target.labels.items()
            and (self.port is None or self.port in target.ports)
        )


class Rules(Struct, frozen=True):
    """The rules of portside.yaml. Exclude wins. A non-empty include admits only what one of its rules matches."""

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    def excluded(self, target: RuleTarget) -> str:
        """Why the target is not forwarded, or ""."""
        rule = _first(self.exclude, target)
        return "" if rule is None else f"{rule.origin} excludes it"

    def refused(self, target: RuleTarget) -> str:
        """Why a target that a mode selected is not forwarded, or "": it is excluded, or not included."""
        if not self.include or _first(self.include, target) is not None:
            return self.excluded(target)
        file = self.include[0].origin.partition(" ")[0]
        return self.excluded(target) or f"{file} does not include it"


def _first(rules: Iterable[Rule], target: RuleTarget) -> Rule | None:
    return next((rule for rule in rules if rule.matches(target)), None)


class Project(Struct, frozen=True, kw_only=True):
    """Which configuration to read. `profiles` as for Skaffold's -p: `-name` turns one off.

    `binary`: Skaffold's name or path, None to read the files without it. `command`: Skaffold's (dev, run …), which may
    activate profiles; so may `kube_context` and `kubeconfig`, "" if none was given. `profile_flags`: Skaffold's flags
    --profile-auto-activation=… and --propagate-profiles=….
    """

    filename: str = DEFAULT_FILE
    profiles: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    binary: str | None = "skaffold"
    command: str = "dev"
    kube_context: str = ""
    kubeconfig: str = ""
    profile_flags: tuple[str, ...] = ()


class Configuration(Struct, frozen=True):
    """What a project's skaffold.yaml says. `bad`: entries that cannot be forwarded while the others can.

    `artifacts`: names of the images it builds. `docker`: it deploys with Docker alone, nothing to Kubernetes.
    `kube_context`: the one it deploys to, "" if it names none; `contexts`: all of them, if they differ.
    `sources`: the files that were read, the project's own first.
    """

    entries: tuple[Entry, ...] = ()
    bad: tuple[BadEntry, ...] = ()
    artifacts: tuple[str, ...] = ()
    docker: bool = False
    kube_context: str = ""
    contexts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Settings(Struct, frozen=True, kw_only=True):
    """The values of portside.yaml. `modes`: as for --port-forward. `gateway`, `direct`: as options. "" and None: unset.

    `modes_origin`, `gateway_origin`: file, line and field, for messages.
    """

    modes: str = ""
    modes_origin: str = ""
    addresses: tuple[str, ...] = ()
    hold: float | None = None
    direct: str = ""
    gateway: str = ""
    gateway_origin: str = ""
    gateway_suffixes: tuple[str, ...] = ()
    rules: Rules = Rules()
    entries: tuple[Entry, ...] = ()


def kind_of(resource_type: str) -> str | None:
    """The kind's singular for a type as kubectl takes it: any case, plural, short name, `deployments.v1.apps`."""
    word, dot, group = resource_type.lower().partition(".")
    kind = BY_NAME.get(word)
    if kind is None or (dot and group not in _groups(kind)):
        return None
    return kind.singular


def skaffold_kind_of(resource_type: str) -> str | None:
    """The kind for a resourceType of skaffold.yaml: singulars in any case (schema/validation/validation.go)."""
    word = resource_type.lower()
    return word if word == CONTAINER or any(kind.singular == word for kind in KINDS) else None


def known_kinds(meant: str = "") -> str:
    """The names of all kinds for a message, and which of them is most similar to `meant`."""
    return ", ".join(sorted(kind.singular for kind in KINDS)) + did_you_mean(meant, BY_NAME)


def port_request_for(port: int | str) -> PortRequest:
    """The local port if none is given: the remote port if that is a number."""
    return PortRequest(PortPolicy.PREFERRED, port) if isinstance(port, int) else PortRequest(PortPolicy.AUTOMATIC)


def checked_port(value: object, where: str) -> int | str:
    """Check a port: a number, a quoted number (one to Skaffold's IntOrString) or a name. Raises ConfigError."""
    if isinstance(value, str) and not value.isdigit():
        return value
    number = None if isinstance(value, bool) else port_number(str(value))
    if number is None:
        raise ConfigError(f"{where} {shown(value)} is neither a number from 1 to {MAX_PORT} nor a port's name")
    return number


def name_problem(name: str, namespace: str) -> str:
    """Why no Kubernetes object can have this name (RFC 1123 subdomain, label), or "". Blank namespaces pass."""
    if len(name) > _NAME_LENGTH or not all(re.fullmatch(_LABEL, part) for part in name.split(".")):
        return f"no Kubernetes object can have the name {name!r}"
    if namespace and not re.fullmatch(_LABEL, namespace):
        return f"no namespace can have the name {namespace!r}"
    return ""


def checked_namespace(text: str, where: str) -> str:
    """Check the name of a namespace, or "". Raises ConfigError."""
    if text and not re.fullmatch(_LABEL, text):
        raise ConfigError(f"{where}: no namespace can have the name {text!r}")
    return text


def checked_address(text: str, where: str) -> str:
    """Check an IPv4 or IPv6 address or a host name; an address gets its usual form. Raises ConfigError."""
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if not re.fullmatch(_HOST_NAME, text) or text.replace(".", "").isdigit():
        raise ConfigError(f"{where}: {text!r} is neither an IP address nor a host name")
    return text


def checked_selector(text: str, where: str) -> str:
    """Check a label selector as the API takes it (`a=b,c!=d,e in (f,g),h,!i`), and trim it. Raises ConfigError."""
    if not re.fullmatch(_SELECTOR, text):
        raise ConfigError(
            f"{where}: {text!r} is no label selector; write key=value, key!=value, key in (a, b), key or !key"
        )
    return text.strip()


def _groups(kind: Kind) -> set[str]:
    """How kubectl writes an API group: `/apis/apps/v1` as apps or v1.apps; the core group has no name."""
    _, _, path = kind.path.partition("/apis/")
    group, _, version = path.partition("/")
    return {group, f"{version}.{group}"} if group else {"v1", "v1."}
