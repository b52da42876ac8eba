"""A proxy in front of PostgreSQL that knows where in a transaction it stands.

It reads the messages of the wire protocol in both directions, so that a fault can strike at a
chosen moment: inside COPY, before COMMIT is passed on, or after COMMIT was carried out and before
its answer is passed on. Connections must not be encrypted.
"""

from __future__ import annotations

import enum
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
from demo import ports

CHUNK = 1 << 18
# Startup packets that ask for encryption; the answer N says no.
ENCRYPTION = {80877103, 80877104}
ANSWER_SECONDS = 10.0
# Of a run's sessions one takes the lock of the stream.
LOCK = b"pg_try_advisory_lock"
WRITERS = FIRST, OTHER = "the first writer", "another writer"


class Moment(enum.Enum):
    """Where in the engine's transaction a trap springs."""

    FIRST_COPY = "first COPY bytes"
    LATER_COPY = "later COPY bytes"
    BEFORE_COMMIT = "COMMIT on its way"
    AFTER_COMMIT = "answer to COMMIT lost"


@dataclass
class Trap:
    """Waits for a moment. `act` runs there, once, and says whether the session goes on."""

    moment: Moment
    act: Callable[[Session], bool]
    nth_copy: int = 1
    sprung: threading.Event = field(default_factory=threading.Event)


class Session:
    """One connection through the proxy."""

    def __init__(self, proxy: WireProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.backend_pid: int | None = None
        # Which writer of its run it is.
        self.whose = OTHER
        # CopyData messages of the present transaction: above 0 we are between the first byte of
        # COPY and the answer to COMMIT.
        self.copies = 0
        self._swallow = False
        self._committed = threading.Event()
        self._tag = b""

    def run(self) -> None:
        """Pass messages on until either side ends."""
        back = threading.Thread(target=self._guarded, args=(self._pass_back,), daemon=True)
        if self._greet():
            back.start()
            self._guarded(self._pass_on)
        self.cut()

    def cut(self) -> None:
        """Break both sides off."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def cut_server(self) -> None:
        """Break off the server's side only: the client believes in its connection."""
        self._swallow = True
        self.copies = 0
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def hang(self, seconds: float) -> None:
        """Pass nothing on and close nothing, until the client gives up."""
        self._swallow = True
        self._client.settimeout(seconds)
        with suppress(OSError):
            while self._client.recv(CHUNK):
                pass

    def client_pid(self) -> int:
        """Return the process at the client's end; raise LookupError if it is gone."""
        port = self._client.getpeername()[1]
        for found in psutil.net_connections("tcp4"):
            if found.laddr and found.laddr.port == port and found.pid:
                return found.pid
        raise LookupError(f"nobody holds port {port} any more")

    def _greet(self) -> bool:
        """Pass the startup packet on; a request for encryption is refused."""
        with suppress(OSError, struct.error):
            while True:
                head = _exactly(self._client, 8)
                length, code = struct.unpack("!ii", head)
                if code in ENCRYPTION:
                    self._client.sendall(b"N")
                    continue
                self._server.sendall(head + _exactly(self._client, length - 8))
                return True
        return False

    def _guarded(self, work: Callable[[], None]) -> None:
        with suppress(OSError):
            work()
        # The other side learns that this one ended, unless a silent end is what is being played.
        if not self._swallow:
            self.cut()

    def _pass_on(self) -> None:
        buffer = bytearray()
        while data := self._client.recv(CHUNK):
            buffer += data
            done, last = 0, 0
            for kind, start, end in _messages(buffer):
                last = end
                if kind == ord("d"):
                    self.copies += 1
                    moment = Moment.FIRST_COPY if self.copies == 1 else Moment.LATER_COPY
                elif kind == ord("Q") and self.copies and _is_commit(buffer[start + 5 : end]):
                    moment = Moment.BEFORE_COMMIT
                else:
                    if kind == ord("P") and LOCK in buffer[start:end]:
                        self.whose = FIRST
                    continue
                trap = self._proxy.spring(moment, self.copies)
                if trap is None:
                    continue
                self._server.sendall(buffer[done:start])
                if not self._act(trap, bytes(buffer[start:end])):
                    self.cut()
                    return
                done = end
            self._server.sendall(buffer[done:last])
            del buffer[:last]

    def _act(self, trap: Trap, message: bytes) -> bool:
        rest = message
        if trap.moment in (Moment.FIRST_COPY, Moment.LATER_COPY):
            half = len(message) // 2
            self._server.sendall(message[:half])
            rest = message[half:]
        elif trap.moment is Moment.AFTER_COMMIT:
            self._swallow = True
            self._server.sendall(message)
            rest = b""
            self._committed.wait(ANSWER_SECONDS)
        try:
            goes_on = trap.act(self) and not self._swallow
        finally:
            trap.sprung.set()
        if goes_on:
            self._server.sendall(rest)
        return goes_on

    def _pass_back(self) -> None:
        buffer = bytearray()
        while data := self._server.recv(CHUNK):
            buffer += data
            last = 0
            for kind, start, end in _messages(buffer):
                self._look(kind, buffer[start + 5 : end])
                last = end
            if not self._swallow:
                self._client.sendall(buffer[:last])
            del buffer[:last]

    def _look(self, kind: int, body: bytearray) -> None:
        if kind == ord("K"):
            self.backend_pid = struct.unpack("!i", body[:4])[0]
        elif kind == ord("C"):
            self._tag = bytes(body)
        elif kind == ord("Z") and body[:1] == b"I" and self.copies:
            if self._tag == b"COMMIT\0":
                self._committed.set()
                if not self._swallow:
                    self._proxy.note_commit()
            self.copies = 0


class WireProxy:
    """Listens on a port of its own and passes sessions on to the server."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server((ports.LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.sessions: set[Session] = set()
        self._lock = threading.Lock()
        self._trap: Trap | None = None
        self._commit = threading.Condition()
        self.committed_at = 0.0
        self.commits = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, trap: Trap) -> None:
        """Wait for the moment; one trap at a time."""
        with self._lock:
            self._trap = trap

    def disarm(self) -> None:
        """Take back a trap that did not spring."""
        with self._lock:
            self._trap = None

    def spring(self, moment: Moment, copies: int) -> Trap | None:
        """Return the trap that waits for this moment, and forget it."""
        with self._lock:
            trap = self._trap
            wanted = trap and (
                trap.moment is moment
                or (trap.moment is Moment.AFTER_COMMIT and moment is Moment.BEFORE_COMMIT)
            )
            if trap is None or not wanted:
                return None
            if moment is Moment.LATER_COPY and copies < trap.nth_copy:
                return None
            self._trap = None
            return trap

    def inside(self) -> bool:
        """Say whether any session stands between its first COPY byte and the answer to COMMIT."""
        return any(session.copies for session in list(self.sessions))

    def sessions_of(self, pid: int) -> list[Session]:
        """Return the sessions with this process at the client's end."""
        found = []
        for session in list(self.sessions):
            with suppress(LookupError, OSError):
                if session.client_pid() == pid:
                    found.append(session)
        return found

    def note_commit(self) -> None:
        """A commit was answered and the answer passed on."""
        with self._commit:
            self.committed_at = time.monotonic()
            self.commits += 1
            self._commit.notify_all()

    def await_commit(self, after: float, seconds: float) -> float | None:
        """Return when the next commit after `after` was answered, None if none comes in time."""
        deadline = time.monotonic() + seconds
        with self._commit:
            while self.committed_at <= after:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._commit.wait(left)
            return self.committed_at

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((ports.LOOPBACK, self._server_port), timeout=5)
        except OSError:
            # As near to a refused connection as somebody who accepted it can come.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return
        server.settimeout(None)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(self, client, server)
        self.sessions.add(session)
        try:
            session.run()
        finally:
            self.sessions.discard(session)


def _messages(buffer: bytearray) -> list[tuple[int, int, int]]:
    """Return kind, start and end of each complete message."""
    found = []
    start = 0
    while len(buffer) >= start + 5:
        end = start + 1 + int.from_bytes(buffer[start + 1 : start + 5], "big")
        if end > len(buffer):
            break
        found.append((buffer[start], start, end))
        start = end
    return found


def _is_commit(text: bytearray) -> bool:
    return bytes(text).strip(b"\0 ;\n").lower() == b"commit"


def _exactly(side: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = side.recv(count - len(data))
        if not more:
            raise OSError("ended in the middle of a packet")
        data += more
    return data
