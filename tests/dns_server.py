"""Contains a small DNS server for tests, which answers questions for TXT records."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Record = str | tuple[str, ...]


@dataclass
class DnsServer:
    """The state of the server, which a test changes.

    `records` maps a name to its TXT records, each of which is a text or the strings that it is made
    of. `aliases` maps a name to its CNAME. `rcode` replaces every answer by an error. With
    `is_truncated`, an answer by UDP is empty and marked as truncated. With `is_silent`, nothing is
    answered. `changes_id` gives each answer another id than the question. `garbage` replaces each
    answer.
    """

    port: int = 0
    records: dict[str, list[Record]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    is_truncated: bool = False
    is_silent: bool = False
    changes_id: bool = False
    garbage: bytes = b""
    questions: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Returns the value of DNS_SERVER."""
        return f"127.0.0.1:{self.port}"

    def answer(self, wire: bytes, *, is_udp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text().rstrip(".")
        self.questions.append(name)
        if self.is_silent:
            return None
        if self.garbage:
            return self.garbage
        response = dns.message.make_response(query)
        response.set_rcode(self.rcode)
        if self.changes_id:
            response.id = query.id ^ 1
        if self.is_truncated and is_udp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        if self.rcode == dns.rcode.NOERROR:
            self._add_records(response, name)
        return response.to_wire()

    def _add_records(self, response: Any, name: str) -> None:
        if name in self.aliases:
            alias = f"{self.aliases[name]}."
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", alias))
            name = self.aliases[name]
        if name not in self.records:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return
        texts = [_quoted(record) for record in self.records[name]]
        if texts:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *texts))


def _quoted(record: Record) -> str:
    strings = (record,) if isinstance(record, str) else record
    return " ".join(f'"{text}"' for text in strings)


@contextmanager
def serving_dns() -> Iterator[DnsServer]:
    """Serves UDP and TCP on one free port of 127.0.0.1 until the block ends."""
    state = DnsServer()

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, connection = self.request
            answer = state.answer(wire, is_udp=True)
            if answer is not None:
                connection.sendto(answer, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = int.from_bytes(self.rfile.read(2), "big")
            answer = state.answer(self.rfile.read(length), is_udp=False)
            if answer is not None:
                self.wfile.write(len(answer).to_bytes(2, "big") + answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tcp) as tcp:
        state.port = tcp.server_address[1]
        with socketserver.ThreadingUDPServer(("127.0.0.1", state.port), Udp) as udp:
            for server in (tcp, udp):
                server.daemon_threads = True
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield state
            tcp.shutdown()
            udp.shutdown()
