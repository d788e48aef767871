"""Owns the list of checks, in the order in which people read their findings.

Refuses to run them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from msgspec import Struct

from watcher.config.project import Project
from watcher.doctor import machine, skaffold
from watcher.doctor.cluster import ANSWER, LOGIN, Cluster
from watcher.doctor.docker import engine_check
from watcher.doctor.examine import Check
from watcher.doctor.permissions import permissions_check
from watcher.doctor.project import READING, ProjectFiles

# Seconds, beside what other checks find out first. For some round trips, or a local program's answer.
_CLUSTER, _LOCAL = READING + LOGIN + 2 * ANSWER, 10.0


class Subject(Struct, frozen=True, kw_only=True):
    """What is to be examined; "" where nothing was asked for. `skaffold`: the URL of one that runs."""

    kubeconfig: str
    context: str
    namespace: str
    project: Project | None
    skaffold: str
    environ: Mapping[str, str]


def checks_of(subject: Subject) -> tuple[Check, ...]:
    files = ProjectFiles(subject.project, subject.environ)
    cluster = Cluster(subject.kubeconfig, subject.context, subject.namespace, files)
    environ = subject.environ
    return (
        Check("kubeconfig", cluster.kubeconfig_check, _CLUSTER),
        Check("proxy", partial(cluster.proxy_check, environ), _CLUSTER),
        Check("server", cluster.server_check, _CLUSTER),
        Check("permissions", partial(permissions_check, cluster), _CLUSTER),
        Check("transport", cluster.transport_check, _CLUSTER),
        Check("docker", partial(engine_check, files, environ), READING + _LOCAL),
        Check("skaffold", partial(skaffold.binary_check, environ), _LOCAL),
        Check("skaffold api", partial(skaffold.api_check, subject.skaffold), _LOCAL),
        Check("configuration", files.configuration_check, READING + _LOCAL),
        Check("ports", files.ports_check, READING + _LOCAL),
        Check("ipv6", machine.ipv6_check, _LOCAL),
        Check("open files", machine.files_check, _LOCAL),
        Check("surroundings", partial(machine.surroundings_check, environ), _LOCAL),
        Check("portsides", machine.portsides_check, _LOCAL),
    )
