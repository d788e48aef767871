"""Chooses the tests that run under Wine, and lists those that cannot, with the reason.

These are the suites whose code uses the platform. `wire` and `plan` do no IO, so Linux is enough for them.
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
# The least number of passed tests; fewer would mean that a suite is missing.
AT_LEAST = 1_000

# A module: its tests are about what only POSIX has, or stand on a helper that is.
POSIX_MODULES = {
    "tests/system/test_macos_ways.py": "plays macOS with the module `resource`",
    "tests/board/test_lines.py": "fills pipes of POSIX (fcntl)",
    "tests/board/test_runtime.py": "owners and modes of files",
    "tests/config/test_diagnose.py": "runs Linux' skaffold",
    "tests/forwarders/test_descriptors.py": "limits of descriptors (resource)",
    "tests/forwarders/test_edits_under_load.py": "not tried under Wine yet",
    "tests/forwarders/test_fleet.py": "not tried under Wine yet",
    "tests/forwarders/test_fleet_connections.py": "limits of descriptors (resource)",
    "tests/forwarders/test_holding.py": "events for resets and closed ends, which Linux alone has",
    "tests/forwarders/test_holding_leavers.py": "events for resets and closed ends, which Linux alone has",
    "tests/forwarders/test_holding_order.py": "not tried under Wine yet",
    "tests/skaffold/test_process.py": "process groups and signals of POSIX",
    "tests/docker/test_docker_deployer.py": "needs the bed's modules, which are Linux' alone",
    "tests/status/test_readers.py": "limits of descriptors (resource)",
}

_RESET = "a client under Wine sees no reset"
_BUFFERS = "sizes of Linux' socket buffers"
_LINKS = "symbolic links"
_WORDS = "quotes POSIX' words for errors of files"
# A test, or all whose name begins so.
POSIX_TESTS = {
    "tests/board/test_keys.py::test_the_page_that_is_opened": "the program `true`",
    "tests/board/test_env_file.py::test_it_follows_the_board": "modes of files",
    "tests/board/test_env_file.py::test_what_changes_nothing_is_not_written": "inode numbers",
    "tests/board/test_env_file.py::test_a_link_is_kept": _LINKS,
    "tests/docker/test_decoding.py::test_where_the_engine_is": "socket files, which are refused by name",
    "tests/docker/test_decoding.py::test_tls_is_refused_by_name": "socket files, which are refused by name",
    "tests/config/test_any_configuration.py::test_a_working_folder_that_is_gone_is_one_line": "no folder goes in use",
    "tests/config/test_copies.py::test_no_room_for_copies_is_one_line": _WORDS,
    "tests/config/test_plain_yaml.py::test_what_would_be_a_guess_is_refused": _WORDS,
    "tests/config/test_plain_yaml.py::test_a_file_that_cannot_be_read_is_named": _WORDS,
    "tests/config/test_user_files.py::test_a_file_without_a_size": "/proc",
    "tests/config/test_user_files.py::test_a_user_without_a_home": "HOME and passwd",
    "tests/config/test_copies.py::test_the_copies_hold_for_diagnose": "compares paths without their escapes",
    "tests/config/test_watching.py::test_what_a_link_leads_to_is_noticed": _LINKS,
    "tests/skaffold/test_command_line.py::test_a_link_to_skaffold_is_skaffold": _LINKS,
    "tests/forwarders/test_delivery.py::test_what_comes_while_a_slow_client_catches_up": _BUFFERS,
    "tests/forwarders/test_tls_channel.py::test_what_the_socket_has_no_room_for": _BUFFERS,
    "tests/forwarders/test_direct.py::test_a_reset_is_no_good_end": _RESET,
    "tests/forwarders/test_direct.py::test_a_client_that_is_gone": "a pair of sockets that refuses the first write",
    "tests/forwarders/test_far_pages.py::test_a_page_takes_the_round_trips": "round trips by exact waits",
    "tests/forwarders/test_own_address.py::test_an_end_of_the_connection_is_the_pods": _RESET,
    "tests/forwarders/test_listeners.py::test_a_taken_port_means_the_next": "owners of ports, which Wine finds in 30 s",
    "tests/forwarders/test_listeners.py::test_a_demand_that_cannot_be_met": "owners of ports, which Wine finds in 30 s",
    "tests/forwarders/test_relay.py::test_an_error_that_is_no_dial_error_is_not_tried_again": _RESET,
    "tests/forwarders/test_relay.py::test_a_dial_error_behind_an_answer_is_not_tried_again": _RESET,
    "tests/forwarders/test_relay.py::test_short_data_is_never_a_clean_end": _RESET,
    "tests/forwarders/test_relay.py::test_a_client_that_closed_is_passed_on_at_once": "sock_diag",
    "tests/forwarders/test_relay.py::test_what_a_client_sent_before_it_closed_is_taken": "sock_diag",
    "tests/forwarders/test_relay.py::test_a_tunnel_that_breaks_behind_a_greeting_is_not_replaced": _RESET,
    "tests/forwarders/test_relay.py::test_a_client_that_resets": _RESET,
}
