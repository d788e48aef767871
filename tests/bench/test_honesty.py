"""The benchmark's own honesty: damaged or short answers are no figures, and both sides do the same work."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.bench import traffic
from fixtures.bench.figures import Figure, Machine, Results, table
from fixtures.bench.sides import KUBECTL, OURS, Place, command

BODY = bytes(range(64))
Answer = Callable[[bytes], bytes]


def good(request: bytes) -> bytes:
    if request.startswith(b"POST"):
        sent = request.partition(b"\r\n\r\n")[2]
        said = b'{"count":%d,"sha256":"%s"}' % (len(sent), hashlib.sha256(sent).hexdigest().encode())
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
    return b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + BODY


def damaged(request: bytes) -> bytes:
    return good(request)[:-1] + b"!"


def short(request: bytes) -> bytes:
    return good(request)[:-1]


def refused(_: bytes) -> bytes:
    return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def serving(answer: Answer, requests: int = 1) -> Iterator[int]:
    """A server that answers so many requests on each connection and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    for _ in range(requests):
                        if request := _request(sock):
                            sock.sendall(answer(request))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
        more = sock.recv(1 << 20)
        if not more:
            return b""
        data += more
    return data


def _length(data: bytes) -> int:
    fields = (line.partition(b":") for line in data.split(b"\r\n"))
    return next((int(value) for name, _, value in fields if name.lower() == b"content-length"), 0)


@pytest.fixture(autouse=True)
def _expected() -> None:
    traffic.expect(len(BODY), hashlib.sha256(BODY).hexdigest())


def download(port: int) -> object:
    return traffic.download(port, len(BODY))


def upload(port: int) -> object:
    return traffic.upload(port, traffic.CHUNK)


def at_once(port: int) -> object:
    return traffic.at_once(port, 4, 2)


def kept(port: int) -> object:
    return traffic.latencies(port, 1)


MEASURES = [traffic.first_byte, traffic.whole, download, upload, at_once, kept]


@pytest.mark.parametrize("measure", MEASURES)
def test_whole_answers_are_measured(measure: Callable[[int], object]) -> None:
    """A server that answers well is measured by every kind of traffic."""
    with serving(good) as port:
        measure(port)


@pytest.mark.parametrize("answer", [damaged, short, refused])
@pytest.mark.parametrize("measure", [measure for measure in MEASURES if measure is not upload])
def test_a_bad_answer_is_no_figure(measure: Callable[[int], object], answer: Answer) -> None:
    """Wrong bytes, too few and an error's answer end the run, also in one thread of many."""
    with serving(answer) as port, pytest.raises(traffic.DamagedError):
        measure(port)


def test_an_upload_that_arrived_damaged_is_no_figure() -> None:
    """What the application says it got has to be what was sent."""
    with serving(lambda request: good(request[:-1] + b"!")) as port, pytest.raises(traffic.DamagedError):
        upload(port)


def test_a_page_is_all_of_its_files() -> None:
    """The document and three files on one connection; a bad file is no figure."""
    with serving(good, requests=4) as port:
        assert traffic.page(port, 3, len(BODY), 1) > 0
    answers = iter((good, good, good, damaged))

    def damaged_at_last(request: bytes) -> bytes:
        return next(answers)(request)

    with serving(damaged_at_last, requests=4) as port, pytest.raises(traffic.DamagedError):
        traffic.page(port, 3, len(BODY), 1)


def test_both_sides_forward_the_same() -> None:
    """The same kubeconfig, namespace, target and kind of local port."""
    place = Place("kubectl", Path("config"), "bench", {})
    theirs, ours = (command(side, place, [("svc/bench", 8080)]) for side in (KUBECTL, OURS))
    assert theirs[2:] == ours[2:]


def test_ratios_are_of_medians_and_no_figure_is_dropped() -> None:
    """One slow sample of a noisy machine does not decide; each figure has its row, with its spread."""
    figure = Figure(what="x", unit="ms", samples={OURS: (1.0, 2.0, 90.0), KUBECTL: (4.0, 4.0, 5.0)}, reach="≤ 1 ×")
    alone = Figure(what="y", unit="s", samples={OURS: (3.0,)})
    assert figure.ratio == 0.5
    assert alone.ratio is None
    text = table(Results(Machine("cpu", 2, 24, "6", {}, "abc", "2026-01-01"), (figure, alone)))
    assert "| x | 2.00 ms (1.00–90.0) | kubectl: 4.00 ms (4.00–5.00) | 0.50 × | ≤ 1 × |" in text
    assert "| y | 3.00 s | – | – | – |" in text
