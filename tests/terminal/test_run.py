"""portside's lines under `portside run`, in a terminal to which Skaffold writes at the same time."""

from __future__ import annotations

import os
import re

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.support.tmux import PROMPT, terminal

SERVICES = 12
# Without blanks: one in the last column is no part of what tmux shows.
SENTENCE = re.compile(r"Portforwardingservice/(s\d+)innamespacedefault,remoteport8080->http://127\.0\.0\.1:\d+")
# Progress without an end of line, as builders print it, faster than anybody reads.
SKAFFOLD = """#!/bin/sh
trap 'exit 0' INT
while :; do printf '.%s' progress; sleep 0.01; done
"""


async def test_our_lines_are_whole(place: Place) -> None:
    """Each line is one write, so that no output of Skaffold is inside it."""
    recording = Recording.load("dev-first")
    labels = {"skaffold.dev/run-id": recording.run_id}
    os.chmod(place.write("skaffold", SKAFFOLD), 0o700)
    async with EmbeddedCluster.open() as cluster, SkaffoldApi.open(recording) as api:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")], labels=labels)
        for number in range(SERVICES):
            cluster.service(f"s{number}", {"app": "web"}, [{"port": 8080}], labels=labels)
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(place.folder / "embedded"))
        port = api.url.rpartition(":")[2]
        async with terminal(place.environment, place.folder, width=200, height=50) as term:
            words = ("run", "--port-forward=services", "--", "./skaffold", "dev", f"--rpc-http-port={port}")
            await term.command("portside", *words)

            await term.shows(lambda screen: len(set(SENTENCE.findall("".join(screen).replace(" ", "")))) == SERVICES)
            await term.press("C-c")
            screen = await term.shows(lambda screen: "".join(screen).endswith(PROMPT.strip()))
            assert "Traceback" not in "".join(screen)
