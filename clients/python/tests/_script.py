"""Plays the part of a shell: carries out a flow's commands from a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from rejoin._retry import Chance
from rejoin._upload import Batch, Item
from rejoin._wire import Close, Command, Draw, Failure, Flow, Head, Open, Read, Request, Result, Sleep

T = TypeVar("T")

BROKEN = Failure(httpx.ReadError("cut"), not_sent=False)
UNREACHABLE = Failure(httpx.ConnectError("refused"), not_sent=True)
Step = Head | Failure | bytes


@dataclass
class Played:
    """A shell whose answers are a script: for each request a head and what its body is read as, or a
    failure."""

    script: list[list[Step]] | Callable[[Request], list[Step]]
    items: Iterable[Item] = ()
    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    clock: float = 1000.0

    def __post_init__(self) -> None:
        self._steps: list[Step] = []
        self._items = iter(self.items)

    @property
    def chance(self) -> Chance:
        """Time that only passes while a flow sleeps, and no randomness: always the greater."""
        return Chance(now=lambda: self.clock, between=lambda _, greater: greater)

    def run(self, flow: Flow[T]) -> T:
        """Runs a flow to its end."""
        result: Result = None
        while True:
            try:
                command = flow.send(result)
            except StopIteration as finished:
                value: T = finished.value
                return value
            result = self._perform(command)

    def _perform(self, command: Command) -> Result:
        match command:
            case Open(request):
                self.requests.append(request)
                self.bodies.append(self._body(request))
                self._steps = list(self.script(request) if callable(self.script) else self.script.pop(0))
                opened = self._steps.pop(0)
                assert isinstance(opened, (Head, Failure))
                return opened
            case Read():
                some = self._steps.pop(0) if self._steps else b""
                assert isinstance(some, (bytes, Failure))
                return some
            case Sleep(seconds):
                self.slept.append(seconds)
                self.clock += seconds
            case Draw(batch):
                self._draw(batch)
            case Close():
                self._steps = []
        return None

    def _body(self, request: Request) -> bytes:
        body = request.body
        if not isinstance(body, Batch):
            return body or b""
        while body.is_open:
            self._draw(body)
        return b"".join(body.lines)

    def _draw(self, batch: Batch) -> None:
        try:
            batch.take(next(self._items))
        except StopIteration:
            batch.end()
        except Exception as error:
            batch.end(error)


def head(status: int = 200, **headers: str) -> Head:
    """An answer's head. Underscores stand for dashes."""
    return Head(status, {name.replace("_", "-"): value for name, value in headers.items()})


EVENTS = head(content_type="text/event-stream")
