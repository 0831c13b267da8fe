"""`CounterFile`: which number of which kernel file a counter is; the rows of the tables in `v1` and `v2`. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CounterFile:
    """One number in one cgroup file."""

    controller: str
    file: str
    key: str | None = None
    """the word before the number in a file of `key number` lines; `None`: the file holds the number alone"""
    scale: int = 1
    """factor to the counter's unit: 1000 from the kernel's microseconds to nanoseconds"""

    def number(self, text: bytes) -> int:
        """The counter in its own unit, from the whole `text` of the file. ValueError says what was expected."""
        found = text if self.key is None else self._value(text, self.key.encode())
        if not (digits := found.strip()).isdigit():
            raise ValueError(f"expected a whole number{self._at}, found {_shown(digits)}")
        return int(digits) * self.scale

    def _value(self, text: bytes, key: bytes) -> bytes:
        before, found, after = (b"\n" + text).partition(b"\n" + key + b" ")
        if not found:
            raise ValueError(f"expected a line{self._at}, found {_shown(before.strip())}")
        return after.partition(b"\n")[0]

    @property
    def _at(self) -> str:
        return "" if self.key is None else f" {self.key!r}"


def _shown(text: bytes) -> str:
    """`text` for a message: its beginning, quoted."""
    return repr(text[:40].decode(errors="replace"))
