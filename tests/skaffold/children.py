"""Owns small Python programs that play Skaffold or portside as real processes, talking to the test over pipes."""

from __future__ import annotations

# Says "ready", then the name of each signal it gets; SIGTERM ends it with code 3, as does the end of its patience.
SKAFFOLD = """
import os, signal, sys
def got(number, frame):
    os.write(int(sys.argv[1]), (signal.Signals(number).name + "\\n").encode())
    if number in (signal.SIGTERM, signal.SIGHUP):
        os._exit(3)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, got)
os.write(int(sys.argv[1]), b"ready\\n")
while True:
    signal.pause()
"""

# `portside run` as far as the child goes: says the child's code, and with "crash" fails once the child runs.
PORTSIDE = """
import sys, trio
from watcher.skaffold.process import SkaffoldProcess

async def main():
    process = SkaffoldProcess(sys.argv[2:])
    async with trio.open_nursery() as nursery:
        async def run():
            print("code", await process.run(), flush=True)
            nursery.cancel_scope.cancel()
        nursery.start_soon(run)
        if sys.argv[1] == "crash":
            await trio.sleep(0.2)
            raise RuntimeError("a bug of ours")
        await process.ending.wait()
        print("ending", flush=True)

trio.run(main)
"""
