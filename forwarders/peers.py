"""Answers whether the client of a local connection is still there to read an answer.

Whether a client that sent FIN still reads is the system's to know (`system.tcp`).
"""

from __future__ import annotations

import socket

from forwarders.system.tcp import reader_is_gone

# When to ask again whether the client is gone, at first and later: a close() shows a moment after its FIN.
FIRST_LOOK, LAST_LOOK = 0.005, 1.0


def has_left(connection: socket.socket) -> bool:
    """Whether the client has reset or closed its connection, as far as the system can tell.

    A client that has only ended its sending still waits for an answer: it has not left.
    """
    return was_reset(connection) or reader_is_gone(connection) is True


def left_without_a_word(connection: socket.socket) -> bool:
    """Whether the client has reset its connection, or closed it with nothing left to read.

    Cheap for a client that is there: it is asked of every new connection.
    """
    try:
        if connection.recv(1, socket.MSG_PEEK):
            return was_reset(connection)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return reader_is_gone(connection) is True


def was_reset(connection: socket.socket) -> bool:
    """Whether the kernel has seen a reset, even behind bytes that nobody has read. True once: the kernel forgets it."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return True
