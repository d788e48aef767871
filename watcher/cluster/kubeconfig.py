"""Reads kubeconfig files, merges them and resolves one context, as client-go's clientcmd/loader.go does.

Errors quote names and the one wrong value, nothing else. The `kubernetes` library is not used: it takes the last file's
current-context (kubectl: the first's), and its messages name neither file nor line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from watcher import user_files
from watcher.errors import KubeconfigError, did_you_mean

HOME_FILE = "~/.kube/config"
# Fields of a user or cluster that name files, relative to the folder of the kubeconfig.
FILE_FIELDS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


class _NamedEntry(Struct, frozen=True):
    name: str
    context: dict[str, Any] | None = None
    cluster: dict[str, Any] | None = None
    user: dict[str, Any] | None = None


class _KubeconfigFile(Struct, frozen=True, rename="kebab"):
    current_context: str | None = None
    contexts: tuple[_NamedEntry, ...] | None = None
    clusters: tuple[_NamedEntry, ...] | None = None
    users: tuple[_NamedEntry, ...] | None = None


class SelectedContext(Struct, frozen=True):
    """One context with its cluster and its user, in the kubeconfig's own fields. File names are absolute."""

    source: str
    context: str
    namespace: str
    cluster_name: str
    cluster: dict[str, Any]
    user_name: str
    user: dict[str, Any]

    def __repr__(self) -> str:
        return f"SelectedContext({self.context!r} of {self.source!r})"  # a user's fields are secrets

    def text(self, entry: str, field: str) -> str:
        """A field of an entry; "" if it is not set. Numbers count as texts, as for kubectl. Raises KubeconfigError."""
        value = (self.cluster if entry == "cluster" else self.user).get(field) or ""
        if isinstance(value, list | dict):
            self.refuse(entry, field, "is not a text")
        return str(value)

    def refuse(self, entry: str, field: str, problem: str) -> NoReturn:
        """Raise a KubeconfigError about a field of the entry "cluster" or "user"."""
        name = self.cluster_name if entry == "cluster" else self.user_name
        raise KubeconfigError(f'kubeconfig {self.source}: {field} of {entry} "{name}" {problem}')


def files(kubeconfig: str | None) -> tuple[Path, ...]:
    """The paths of the kubeconfig files: the given one, else those of $KUBECONFIG, else ~/.kube/config."""
    names = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    # Path.expanduser raises if there is no home folder.
    return tuple(Path(os.path.expanduser(name)) for name in [*filter(None, names)] or [HOME_FILE])


def current_context(paths: Iterable[Path]) -> str:
    """The current context's name, or "". Missing files count as empty, as in kubectl. Raises KubeconfigError."""
    return next((found for path in paths if path.exists() and (found := _read(path).current_context)), None) or ""


def context_namespaces(paths: Iterable[Path]) -> dict[str, str]:
    """All contexts by name, each with its namespace ("" without one). Missing files count as empty.

    Raises KubeconfigError.
    """
    merged = _merged(_read(path).contexts for path in paths if path.exists())
    return {name: _name(entry.context or {}, "namespace") for name, entry in merged.items()}


def _name(context: Mapping[str, Any], field: str) -> str:
    """The name in a field of a context, "" for anything but a scalar."""
    value = context.get(field) or ""
    return "" if isinstance(value, list | dict) else str(value)


def resolve_context(paths: Iterable[Path], context: str | None) -> SelectedContext:
    """Find the given context (None: the current one) in these files, which must all exist. Raises KubeconfigError."""
    paths = tuple(paths)
    source = os.pathsep.join(map(str, paths))
    parts = [_read(path) for path in paths]
    contexts = _merged(part.contexts for part in parts)
    asked = context or next((part.current_context for part in parts if part.current_context), None)
    names = ", ".join(sorted(contexts)) or "none"
    if asked is None:
        raise KubeconfigError(f"kubeconfig {source}: no current-context; choose by --kube-context, there are: {names}")
    if asked not in contexts:
        near = did_you_mean(asked, contexts)
        raise KubeconfigError(f'kubeconfig {source}: there is no context "{asked}"; there are: {names}{near}')
    chosen = contexts[asked].context or {}
    cluster, user = _name(chosen, "cluster"), _name(chosen, "user")
    clusters, users = (_merged(part.clusters for part in parts), _merged(part.users for part in parts))
    for kind, name, there in (("cluster", cluster, clusters), ("user", user, users)):
        if name not in there and (name or kind == "cluster"):
            raise KubeconfigError(f'kubeconfig {source}: context "{asked}" names {kind} "{name}", which is not there')
    return SelectedContext(
        source=source,
        context=asked,
        namespace=_name(chosen, "namespace"),
        cluster_name=cluster,
        cluster=clusters[cluster].cluster or {},
        user_name=user,
        user=(users[user].user or {}) if user else {},
    )


def _merged(lists: Iterable[tuple[_NamedEntry, ...] | None]) -> dict[str, _NamedEntry]:
    """The entries of several files by name; the first file with an entry of that name wins."""
    found: dict[str, _NamedEntry] = {}
    for named in lists:
        for entry in named or ():
            found.setdefault(entry.name, entry)
    return found


def _read(path: Path) -> _KubeconfigFile:
    # Imported late: it is slow, and only commands that talk to a cluster need it.
    import yaml  # noqa: PLC0415

    from watcher.safe_yaml import OutOfBoundsError, first_document  # noqa: PLC0415

    try:
        data = user_files.read_bytes(path, user_files.KUBECONFIG)
        document = first_document(data)
        read = msgspec.convert({} if document is None else document, _KubeconfigFile)
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path} cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem if isinstance(error, OutOfBoundsError) else "not valid YAML"
        raise KubeconfigError(f"kubeconfig {path}{where}: {problem}") from None
    except msgspec.ValidationError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error}") from None  # it names types and the field, no value
    except (yaml.YAMLError, ValueError, RecursionError):
        raise KubeconfigError(f"kubeconfig {path}: not a YAML text") from None
    for named in (*(read.clusters or ()), *(read.users or ())):
        _make_absolute(named, path.absolute().parent)
    return read


def _make_absolute(named: _NamedEntry, folder: Path) -> None:
    for fields in (named.cluster, named.user):
        for field in FILE_FIELDS:
            if fields and isinstance(fields.get(field), str) and fields[field]:
                fields[field] = str(folder / fields[field])
    plugin = (named.user or {}).get("exec")
    command = plugin.get("command") if isinstance(plugin, dict) else None
    if isinstance(plugin, dict) and isinstance(command, str) and os.sep in command:
        plugin["command"] = str(folder / command)  # as in client-go; a bare name is looked up on the PATH
