"""What the demo prints: a story with a progress bar for people, JSON lines for programs."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final

from edge_tunnel.cli.events import json_line
from edge_tunnel.cli.live import human_bytes

__all__ = ["Report", "Teller"]

_WIDTH: Final = 40
_CLEAR: Final = "\r\x1b[K"


@dataclass(frozen=True)
class Report:
    """What came of it."""

    size: int
    received: int
    sha256_service: str
    sha256_received: str
    cuts: int
    resumes: tuple[float, ...]
    """How long each resume took, in seconds."""

    seconds: float

    @property
    def good(self) -> bool:
        """The file arrived as it was, although its way was cut, and each cut was survived."""
        same = self.sha256_service == self.sha256_received and self.size == self.received
        return same and self.cuts >= 2 and len(self.resumes) >= self.cuts

    def data(self) -> dict[str, object]:
        """For a JSON line."""
        return {
            "bytes": self.received,
            "size": self.size,
            "sha256_service": self.sha256_service,
            "sha256_received": self.sha256_received,
            "equal": self.sha256_service == self.sha256_received,
            "cuts": self.cuts,
            "resumes": [round(each, 3) for each in self.resumes],
            "seconds": round(self.seconds, 3),
            "megabytes_per_second": round(self.received / 1e6 / self.seconds, 1),
        }

    def lines(self) -> list[str]:
        """For people."""
        took = ", ".join(f"{each:.2f} s" for each in self.resumes) or "never"
        rate = human_bytes(self.received / self.seconds)
        verdict = "the same at both ends" if self.good else "SOMETHING IS WRONG"
        return [
            "",
            f"  bytes        {self.received:,} of {self.size:,}",
            f"  SHA-256      {self.sha256_service}  at the service",
            f"               {self.sha256_received}  as received",
            f"  cuts         {self.cuts} in the middle of the transfer",
            f"  resumed in   {took}",
            f"  throughput   {rate}/s over {self.seconds:.1f} s, the pauses included",
            f"  verdict      {verdict}",
        ]


class Teller:
    """Prints; one instance for one demo."""

    def __init__(self, size: int, *, as_json: bool) -> None:
        self._size = size
        self._json = as_json
        self._bar = not as_json and sys.stdout.isatty()
        self._shown = 0.0  # when the bar was drawn last
        self._tenth = 0

    def say(self, event: str, text: str, **data: object) -> None:
        """One thing that happened."""
        if self._json:
            print(json_line(event, **data), flush=True)
        else:
            print((_CLEAR if self._bar else "") + text, flush=True)

    def progress(self, done: int) -> None:
        """So much has arrived. A bar on a terminal, otherwise a line for each tenth."""
        tenth = 10 * done // self._size
        if self._bar:
            self._draw(done)
        elif tenth > self._tenth:
            self._tenth = tenth
            text = f"{10 * tenth:>4} %  {human_bytes(done)}"
            self.say("progress", text, bytes=done, size=self._size)

    def _draw(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown < 0.05 and done < self._size:
            return
        self._shown = now
        filled = _WIDTH * done // self._size
        bar = "#" * filled + "-" * (_WIDTH - filled)
        end = "\n" if done == self._size else ""
        print(f"{_CLEAR}[{bar}] {human_bytes(done)}", end=end, flush=True)

    def report(self, report: Report) -> None:
        """The end of the story."""
        self.say("report", "\n".join(report.lines()), **report.data())
