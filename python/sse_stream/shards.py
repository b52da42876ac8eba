"""One of several parts of a stream, each of which has an offset of its own."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from .errors import ConfigError

__all__ = ["Shard"]

# Each is a task with sessions of its own.
_MOST = 1024


@dataclass(frozen=True)
class Shard:
    """One of ``of`` parts of a stream: an offset of its own, and a parameter in the address."""

    index: int = 0
    of: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Return the shard that ``i/n`` names, the whole stream for None.

        Raises:
            ConfigError: it is no shard.
        """
        if text is None or text in ("", "None"):
            return cls()
        index, slash, of = str(text).partition("/")
        right = slash and index.isdecimal() and of.isdecimal() and int(index) < int(of) <= _MOST
        if not right:
            raise ConfigError(f"shard is {text!r}; give i/n with i from 0 to n - 1")
        return cls(int(index), int(of))

    def url(self, url: str) -> str:
        """Return the address of this part: the stream's, with ``shard=i/n`` in its query."""
        if not self.of:
            return url
        parts = urlsplit(url)
        query = f"{parts.query}&" if parts.query else ""
        return urlunsplit(parts._replace(query=f"{query}shard={self.index}/{self.of}"))

    def stream(self, stream: str) -> str:
        """Return the name under which offsets are kept.

        It tells the number of shards: with another number each part holds other events, whose
        offsets begin anew.
        """
        return f"{stream}/{self.of}" if self.of else stream

    def words(self, stream: str) -> str:
        """Return the same for people."""
        return f"{stream}, shard {self.index}/{self.of}" if self.of else stream

    def variable(self, variable: str) -> str:
        """Return the Variable that mirrors this part's offset."""
        return f"{variable}_{self.index}_of_{self.of}" if self.of else variable

    @classmethod
    def kept(cls, stream: str, index: int) -> tuple[str, Shard]:
        """Return the stream and the part of it that the books mean by ``stream`` and ``index``."""
        name, slash, of = stream.rpartition("/")
        if slash and of.isdecimal() and index < int(of) <= _MOST:
            return name, cls(index, int(of))
        return stream, cls()
