"""Runs a kubeconfig's exec plugin (a login plugin) and returns the credential that it prints.

The protocol is client-go's (plugin/pkg/client/auth/exec): client.authentication.k8s.io/v1 and v1beta1.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, cast

import msgspec
import trio
from msgspec import Struct

from forwarders.system.processes import (
    end_by_signal,
    end_process,
    fatal_signals,
    group_options,
    kill_tree,
    read_within,
    startable,
)
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.plugin_output import MAX_OUTPUT, PluginCredential, PluginWords, decoded

logger = logging.getLogger("portside.cluster")

# Seconds for a plugin that asks a server, and for one that asks the user on the terminal.
DEADLINE, DEADLINE_FOR_A_PERSON = 60.0, 300.0
# Seconds until a warning that portside waits for the plugin.
NOTICE = 1.5
# Seconds to read the rest of the output after the plugin has ended: a child of it may hold the pipe open.
DRAIN = 0.5
# Characters of KUBERNETES_EXEC_INFO: Linux starts no program with a longer variable.
LONGEST_INFO = 120 * 1024
Output = trio.abc.ReceiveStream
VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1"))
_MODES = "Never, IfAvailable, Always"
# The kubeconfig extension that a plugin receives as cluster.config.
_EXTENSION = "client.authentication.k8s.io/exec"
_SECRET_NAME = re.compile("token|secret|password|key", re.IGNORECASE)


class _Variable(Struct, frozen=True):
    name: str
    value: str = ""


class ExecEntry(Struct, frozen=True, rename="camel"):
    """The `exec` field of a kubeconfig's user: the login plugin to run."""

    command: str
    api_version: str = ""
    args: tuple[str, ...] | None = None
    env: tuple[_Variable, ...] | None = None
    install_hint: str | None = None
    provide_cluster_info: bool | None = None
    interactive_mode: str | None = None


async def ask_plugin(selected: SelectedContext, *, starting: bool) -> PluginCredential:
    """Run the user's login plugin; returns its credential. Raises KubeconfigError.

    `starting`: nothing else uses the terminal yet, so the plugin gets stdin, and its stderr is shown unchanged.
    """
    return await _Run(selected, _entry(selected), starting=starting).credential()


def _entry(selected: SelectedContext) -> ExecEntry:
    try:
        entry = msgspec.convert(selected.user["exec"], ExecEntry)
    except msgspec.ValidationError as error:
        selected.refuse("user", "exec", f"cannot be used: {error}")  # it names types and fields, no value
    if not entry.command:
        selected.refuse("user", "exec.command", "is missing")
    if entry.api_version not in VERSIONS:
        known = " and ".join(VERSIONS)
        selected.refuse("user", "exec.apiVersion", f'is "{entry.api_version}"; portside and kubectl know {known}')
    if entry.interactive_mode not in {None, *_MODES.split(", ")}:
        selected.refuse("user", "exec.interactiveMode", f'is "{entry.interactive_mode}": not {_MODES}')
    return entry


def _secrets(entry: ExecEntry) -> Iterator[str]:
    """The values of variables and options whose names speak of a secret: `--client-secret=X`, `--password X`."""
    yield from (variable.value for variable in entry.env or () if _SECRET_NAME.search(variable.name))
    option = ""
    for word in entry.args or ():
        name, equals, value = word.partition("=")
        if _SECRET_NAME.search(name if equals else option) and (equals or not word.startswith("-")):
            yield value if equals else word
        option = word if word.startswith("-") else ""


class _Run:
    """One run of a login plugin: its process, its output and its deadline."""

    def __init__(self, selected: SelectedContext, entry: ExecEntry, *, starting: bool) -> None:
        self._selected = selected
        self._entry = entry
        self._starting = starting
        # Later the terminal shows forwards or belongs to Skaffold: then only a plugin that must ask may read it.
        mode = entry.interactive_mode or "IfAvailable"
        wanted = mode == "Always" or (mode == "IfAvailable" and starting)
        self._interactive = wanted and os.isatty(0)
        if mode == "Always" and not self._interactive:
            self._fail("cannot run: its interactiveMode is Always, and standard input is not a terminal")
        self._words = PluginWords(_to_stderr if starting else self._to_log, _secrets(entry))
        self._stdout = bytearray()

    def _fail(self, problem: str, *, words: str = "") -> NoReturn:
        said = f": {words}" if words else ""
        self._selected.refuse("user", "exec", f"({self._entry.command}) {problem}{said}")

    async def credential(self) -> PluginCredential:
        limit = DEADLINE_FOR_A_PERSON if self._interactive else DEADLINE
        process = await self._started()
        try:
            with trio.move_on_after(limit) as scope:
                await self._collect(process, limit)
        finally:
            await end_process(process, group=not self._starting)
        if scope.cancelled_caught:
            await self._end_line()
            self._fail(f"did not answer within {limit:.0f} s and was ended", words=self._words.text)
        return await self._judged(process.returncode)

    async def _started(self) -> trio.Process:
        entry = self._entry
        own_group: dict[str, Any] = {} if self._starting else group_options(detached=True)
        environment = self._environment()
        try:
            return await trio.lowlevel.open_process(
                startable([entry.command, *(entry.args or ())], environment),
                stdin=None if self._interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                **own_group,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            hint = f"; {entry.install_hint}" if entry.install_hint else ""
            reason = getattr(error, "strerror", None) or error
            self._selected.refuse("user", "exec.command", f"({entry.command}) cannot be run: {reason}{hint}")

    def _environment(self) -> dict[str, str]:
        spec: dict[str, Any] = {"interactive": self._interactive}
        if self._entry.provide_cluster_info:
            spec["cluster"] = _cluster_info(self._selected)
        info = {"kind": "ExecCredential", "apiVersion": self._entry.api_version, "spec": spec}
        text = _json_within(LONGEST_INFO, info)
        if text is None:
            self._selected.refuse("cluster", "extensions", "cannot be given to the login plugin: too long, or no JSON")
        given = {variable.name: variable.value for variable in self._entry.env or ()}
        return {**os.environ, **given, "KUBERNETES_EXEC_INFO": text}

    async def _collect(self, process: trio.Process, limit: float) -> None:
        stdout, stderr = cast("Output", process.stdout), cast("Output", process.stderr)
        async with trio.open_nursery() as helpers:
            helpers.start_soon(self._notice, limit)
            if self._starting:
                helpers.start_soon(end_together, process)
            helpers.start_soon(self._words.show_live)
            async with trio.open_nursery() as readers:
                readers.start_soon(read_within, MAX_OUTPUT, stdout, self._stdout, readers.cancel_scope)
                readers.start_soon(self._words.take, stderr)
                await process.wait()
                readers.cancel_scope.deadline = trio.current_time() + DRAIN
            helpers.cancel_scope.cancel()

    async def _notice(self, limit: float) -> None:
        await trio.sleep(NOTICE)
        if not (self._starting and self._words.shown):  # its own output tells more
            name, user = self._entry.command, self._selected.user_name
            logger.warning('waiting for the login plugin %s of user "%s", up to %.0f s', name, user, limit)

    async def _judged(self, code: int | None) -> PluginCredential:
        found = decoded(self._stdout, self._entry.api_version)
        if code != 0 or isinstance(found, str):
            await self._end_line()
            self._failed(code, found)
        await self._words.show_rest()
        return found

    def _failed(self, code: int | None, found: PluginCredential | str) -> NoReturn:
        if isinstance(found, PluginCredential):
            self._words.secrets.add(found.token or "\0")
        words = self._words.text or ("it printed nothing" if code else "")
        problem = f"failed ({how_ended(code)})" if code and len(self._stdout) <= MAX_OUTPUT else f"failed: {found}"
        self._fail(problem, words=words)

    async def _end_line(self) -> None:
        """Ends the plugin's last line, so the error starts on its own line."""
        if self._starting and self._words.shown:
            await self._words.show_rest()
            await _to_stderr(b"\n")

    async def _to_log(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for line in data.splitlines():
            if text := self._words.plain(line):
                logger.warning("login plugin %s: %s", self._entry.command, text)


async def _to_stderr(data: bytes) -> None:
    """Writes to stderr: unchanged, as a prompt has no end of line; in a thread, as the terminal may block."""
    with suppress(OSError):
        await trio.to_thread.run_sync(partial(os.write, 2, data), abandon_on_cancel=True)


def _json_within(most: int, value: object) -> str | None:
    """The value as JSON; None if that is too long or endless: YAML's aliases repeat values, also inside themselves."""
    text = ""
    with suppress(ValueError, RecursionError):
        for piece in json.JSONEncoder(default=str, skipkeys=True).iterencode(value):
            text += piece
            if len(text) > most:
                return None
        return text
    return None


def _cluster_info(selected: SelectedContext) -> dict[str, Any]:
    """The cluster as a plugin gets it: spec.cluster of an ExecCredential."""
    from watcher.cluster.tls import authority_of  # noqa: PLC0415 - ssl is needed by few plugins

    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
    cluster = selected.cluster
    info = {name: cluster[name] for name in names if cluster.get(name)}
    if authority := authority_of(selected):
        info["certificate-authority-data"] = authority
    extensions = cluster.get("extensions")
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("name") == _EXTENSION:
            info["config"] = extension.get("extension")
    return info


def how_ended(code: int | None) -> str:
    """How a process ended: its exit code, or the signal's name."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"


async def end_together(process: trio.Process) -> None:
    """Ends the plugin when a fatal signal ends portside. Used until portside handles signals elsewhere."""
    ours = fatal_signals()
    if not ours:
        return
    with trio.open_signal_receiver(*ours) as arrivals:
        async for number in arrivals:
            kill_tree(process.pid, group=False)
            end_by_signal(number)
