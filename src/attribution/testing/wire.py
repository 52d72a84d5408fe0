"""HTTPS on loopback: the certificate, the server and its threads."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attribution.testing.faults import Fault
from attribution.testing.messages import Request, Response

__all__ = ["Wire", "write_certificate"]

_LONGEST_URI = 16_384
_REASONS = {420: "Enhance Your Calm", 406: "CustomNotAcceptable"}


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate authority, and a key with its certificate for localhost.

    Returns
    -------
    tuple of Path
        The authority's certificate, to be trusted by clients; the server's key and certificate in one file.
    """
    # fixed dates: a test that sets the clock must not meet an expired certificate
    start, end = datetime.datetime(2020, 1, 1), datetime.datetime(2049, 12, 31)

    def named(common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(named("Loopback test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    root = (
        builder(named("Loopback test authority"), authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        builder(named("localhost"), key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(authority, hashes.SHA256())
    )
    bundle, chain = folder / "authority.pem", folder / "server.pem"
    bundle.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.touch(mode=0o600)
    chain.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    return bundle, chain


class Wire:
    """The server: it passes requests on and sends what comes back, faults included.

    Parameters
    ----------
    answer
        From a request to its response and the fault that befalls it on the way back.
    """

    def __init__(self, chain: Path, answer: Callable[[Request], tuple[Response, Fault | None]]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._server = _Server(context, answer)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="org", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and hang up on everybody."""
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # server_close then waits for the threads, which hang_up has freed
    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, context: ssl.SSLContext, answer: Callable[[Request], tuple[Response, Fault | None]]
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        self.answer = answer
        self._connections: set[socket] = set()
        self._guard = threading.Lock()

    def get_request(self) -> tuple[socket, Any]:
        plain, address = super().get_request()
        # the handshake is left to the connection's own thread: a slow client must not hold up the others
        secure = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._guard:
            self._connections.add(secure)
        return secure, address

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._guard:
            connections = list(self._connections)
        for connection in connections:
            # the other side may have gone already
            try:
                connection.shutdown(SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up or do not trust the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sfdcedge"
    sys_version = ""
    disable_nagle_algorithm = True
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the org has its own log of requests."""

    def version_string(self) -> str:
        return self.server_version

    def do_GET(self) -> None:
        """Answer any request."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if len(self.path) > _LONGEST_URI:
            self._send(
                Response(414, b"<html><body>URI Too Long</body></html>", {"Content-Type": "text/html"}), None
            )
            return
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(parts.path), query, headers, body)
        self._send(*self.server.answer(request))

    do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 -- the names that the base class calls

    def _send(self, response: Response, fault: Fault | None) -> None:
        if fault is not None and fault.drop:
            self.close_connection = True
            return
        lines = [
            f"HTTP/1.1 {response.status} {_REASONS.get(response.status) or self._reason(response.status)}"
        ]
        headers = dict(response.headers)
        if response.status not in (204, 304):
            headers["Content-Length"] = str(len(response.body))
        lines += [f"{name}: {value}" for name, value in headers.items()]
        body = b"" if self.command == "HEAD" else response.body
        if fault is not None and fault.keep is not None:
            body = body[: fault.keep]
            self.close_connection = True
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head + body)

    def _reason(self, status: int) -> str:
        return self.responses.get(status, ("Unknown",))[0]
