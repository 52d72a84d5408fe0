"""Answers without an end, as a broken proxy or a hostile server sends them."""

from __future__ import annotations

import contextlib
import gc
import gzip
import itertools
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from attribution.errors import StoppedEarly, TransientCrmError
from attribution.sync.answers import BoundedAdapter
from attribution.sync.budget import Budget
from attribution.sync.failures import Garbled
from attribution.sync.session import Account, Grant, Session
from attribution.sync.wire import Wire
from attribution.testing.wire import write_certificate

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: "),
    "body": (HEAD + b"\r\n{", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "announced": (HEAD + b"Content-Length: 999999999999\r\n\r\n", b" "),
    "error": (b"HTTP/1.1 503 Down\r\nContent-Length: 99999999\r\n\r\n", b"x"),
}
Packets = Callable[[], Iterator[bytes]]
Serve = Callable[[Packets], tuple[str, str]]


def endless(part: str) -> Packets:
    first, more = ENDLESS[part]
    # not quite: a client without a limit is to fail a test, and not to stop all of them
    return lambda: itertools.chain([first], itertools.repeat(more, 100_000))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Answers every connection with the same packets, until the other side hangs up."""
    bundle, chain = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(plain: socket.socket, packets: Packets) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(65_536)
            for packet in packets():
                connection.sendall(packet)

    def accept(packets: Packets) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listening.accept()
                threads.append(threading.Thread(target=answer, args=(plain, packets), daemon=True))
                threads[-1].start()

    def start(packets: Packets) -> tuple[str, str]:
        threads.append(threading.Thread(target=accept, args=(packets,), daemon=True))
        threads[-1].start()
        return f"localhost:{listening.getsockname()[1]}", str(bundle)

    yield start
    # on Linux an accept under way ends only so
    with contextlib.suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def line_to(server: tuple[str, str], clock: Callable[[], float] = lambda: 0.0) -> Wire:
    host, bundle = server
    return Wire(
        host,
        lambda _: Grant(host, "token"),
        secrets=(),
        can_renew=False,
        retry_base_seconds=0,
        ca_bundle=bundle,
        sleep=lambda _: None,
        clock=clock,
    )


@pytest.mark.parametrize("part", ENDLESS)
def test_no_answer_takes_longer_than_ten_minutes(part: str, serve: Serve) -> None:
    # a quarter of a minute between two looks at it
    clock = itertools.count(step=15.0).__next__
    line = line_to(serve(endless(part)), clock)
    with pytest.raises(TransientCrmError, match="no complete answer"):
        line.get_json("/services/data")
    assert line.sent == 6
    assert 6 * 600 <= clock() < 6 * 660


@pytest.mark.parametrize("part", ENDLESS)
def test_no_answer_outlives_the_deadline(part: str, serve: Serve) -> None:
    line = line_to(serve(endless(part)), itertools.count(step=1.0).__next__)
    with (
        pytest.raises(StoppedEarly, match="deadline of 40 seconds"),
        line.limited(Budget(deadline_seconds=40)),
    ):
        line.get_json("/services/data")
    assert line.sent == 1


def test_what_is_coming_is_given_up_when_the_sync_is_broken_off(serve: Serve) -> None:
    def packets() -> Iterator[bytes]:
        yield HEAD + b"\r\n{"
        yield from itertools.repeat(b" ", 5)
        line.stop(StoppedEarly("enough"))
        yield from itertools.repeat(b" ", 100_000)

    line = line_to(serve(packets))
    with line.limited(Budget()), pytest.raises(StoppedEarly, match="enough"):
        line.get_json("/services/data")


@pytest.mark.parametrize("is_packed", [False, True])
def test_no_answer_fills_the_memory(is_packed: bool, serve: Serve) -> None:
    head, body = HEAD, b" " * 2**20
    if is_packed:
        head, body = head + b"Content-Encoding: gzip\r\n", gzip.compress(body)
        assert len(body) < 2_000
    host, bundle = serve(lambda: itertools.chain([head + b"\r\n"], itertools.repeat(body, 100)))
    with requests.Session() as session:
        session.mount("https://", BoundedAdapter(lambda: None, largest=3_000_000))
        with pytest.raises(Garbled, match="more than 3,000,000 bytes"):
            session.get(f"https://{host}/", verify=bundle)


def test_no_redirect_fills_the_memory(serve: Serve) -> None:
    # what cannot be unpacked is read as it is
    head = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\n\r\n"
    host, bundle = serve(lambda: itertools.chain([head], itertools.repeat(b" " * 2**20, 100)))
    with requests.Session() as session:
        session.mount("https://", BoundedAdapter(lambda: None, largest=3_000_000))
        with pytest.raises(Garbled, match="more than 3,000,000 bytes"):
            session.get(f"https://{host}/", verify=bundle)


def test_a_session_that_nobody_has_any_more_is_closed() -> None:
    gc.disable()
    try:
        session = Session(None, Account(), lambda: 0.0)
        kept = weakref.ref(session)
        del session
        assert kept() is None
    finally:
        gc.enable()


def test_an_answer_that_ends_in_time_is_whole(serve: Serve) -> None:
    body = b'{"x": "' + b"a" * 100_000 + b'"}'
    packets = [HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body[:7], body[7:]]
    assert line_to(serve(lambda: iter(packets))).get_json("/services/data") == {"x": "a" * 100_000}
