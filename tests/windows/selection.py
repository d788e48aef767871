"""Which tests run under Wine, and which of them cannot, with the reason.

The suites are those whose code asks the platform for something. `wire` and `plan` do no IO: Linux's run is enough.
"""

from __future__ import annotations

SUITES = (
    "tests/system",
    "tests/transports",
    "tests/forwarders",
    "tests/board",
    "tests/config",
    "tests/skaffold",
    "tests/status",
    "tests/docker",
)
# Less than this many that pass would mean that a suite went missing.
AT_LEAST = 500

# A module: its tests are about what only POSIX has, or stand on a helper that is.
POSIX_MODULES = {
    "tests/system/test_macos_ways.py": "plays macOS with the module `resource`",
    "tests/board/test_lines.py": "fills pipes of POSIX (fcntl)",
    "tests/board/test_runtime.py": "owners and modes of files",
    "tests/config/test_diagnose.py": "runs Linux' skaffold",
    "tests/forwarders/test_descriptors.py": "limits of descriptors (resource)",
    "tests/forwarders/test_edits_under_load.py": "stands on test_fleet",
    "tests/forwarders/test_fleet.py": "limits of descriptors (resource)",
    "tests/forwarders/test_holding.py": "events for resets and closed ends, which Linux alone has",
    "tests/skaffold/test_process.py": "process groups and signals of POSIX",
}
POSIX_TESTS: dict[str, str] = {}
