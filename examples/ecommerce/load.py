"""Load: several clients place numbered orders at a steady rate and measure how long each took."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import urlsplit

from django.db import DatabaseError, connection

from examples.ecommerce.orders.placing import NewOrder, place_order
from examples.ecommerce.traffic import Draft, OrderMaker

SOURCE = "loadgen"
Answer = Literal["accepted", "existing", "failed"]
_ERRORS_LISTED = 5
_REQUEST_SECONDS = 30


class Client(Protocol):
    """Places one order at a time; each client thread has its own."""

    def place(self, order: Draft) -> tuple[Answer, str]:
        """Place an order; the text says why it failed."""

    def close(self) -> None: ...

    @property
    def reconnects(self) -> int: ...


class DirectClient:
    """Places orders in this process, without HTTP."""

    reconnects = 0

    def place(self, order: Draft) -> tuple[Answer, str]:
        try:
            placed = place_order(NewOrder.model_validate(order), source=SOURCE)
        except DatabaseError as error:
            return "failed", repr(error)
        return ("accepted" if placed.is_new else "existing"), ""

    def close(self) -> None:
        connection.close()


class HttpClient:
    """Posts orders over one kept connection; tries again while the server is away, as the order's id allows."""

    def __init__(self, url: str, *, patience: float) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=_REQUEST_SECONDS)
        self._path = f"{parts.path.rstrip('/')}/shop/orders"
        self._patience = patience
        self.reconnects = 0

    def place(self, order: Draft) -> tuple[Answer, str]:
        body = json.dumps(order).encode()
        give_up_at = time.monotonic() + self._patience
        pause = 0.05
        while True:
            try:
                status, text = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                status, text = 503, f"no answer: {error!r}"
                self._connection.close()
            if status < 500 or time.monotonic() > give_up_at:
                break
            self.reconnects += 1
            time.sleep(pause)
            pause = min(pause * 2, 1.0)
        if status in (200, 201):
            return ("accepted" if status == 201 else "existing"), ""
        return "failed", f"{status}: {text[:200]}"

    def _post(self, body: bytes) -> tuple[int, str]:
        headers = {"Content-Type": "application/json", "X-Order-Source": SOURCE}
        self._connection.request("POST", self._path, body, headers)
        with self._connection.getresponse() as response:
            return response.status, response.read().decode("utf-8", "replace")

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Times are those of single orders, tries repeated after a lost connection included."""

    seed: int
    posted: int
    accepted: int
    existing: int
    failed: int
    reconnects: int
    seconds: float
    per_second: float
    p50_ms: float
    p95_ms: float
    errors: tuple[str, ...]


@dataclass
class Load:
    """One run. ``rate`` 0 is as fast as the clients can; ``orders`` or ``seconds`` end it, 0 is no limit."""

    maker: OrderMaker
    connect: Callable[[], Client]
    rate: float
    seconds: float
    orders: int
    clients: int
    _next: int = 0
    _started: float = 0.0
    _took: list[float] = field(default_factory=list)
    _answers: Counter[str] = field(default_factory=Counter)
    _errors: list[str] = field(default_factory=list)
    _reconnects: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, on_progress: Callable[[int], object] = lambda done: None) -> LoadReport:
        """Run to the end, or until Ctrl-C, and report."""
        self._started = time.monotonic()
        threads = [threading.Thread(target=self._work, name=f"client-{n}", daemon=True) for n in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                threads[0].join(0.2) if threads[0].is_alive() else time.sleep(0.05)
                on_progress(len(self._took))
        except KeyboardInterrupt:
            self._stop.set()
            for thread in threads:
                thread.join(5)
        on_progress(len(self._took))
        return self._report()

    def _work(self) -> None:
        client = self.connect()
        try:
            while (number := self._take()) is not None:
                self._place(client, number)
        finally:
            with self._lock:
                self._reconnects += client.reconnects
            client.close()

    def _take(self) -> int | None:
        """Take the next number and wait until it is due; None at the end."""
        with self._lock:
            number = self._next
            due = self._started + (number / self.rate if self.rate else 0)
            is_late = self.seconds and max(due, time.monotonic()) >= self._started + self.seconds
            if self._stop.is_set() or is_late or (self.orders and number >= self.orders):
                return None
            self._next += 1
        return None if self._stop.wait(max(0.0, due - time.monotonic())) else number

    def _place(self, client: Client, number: int) -> None:
        order = self.maker.draft(number)
        started = time.monotonic()
        answer, why = client.place(order)
        with self._lock:
            self._took.append(time.monotonic() - started)
            self._answers[answer] += 1
            if why and len(self._errors) < _ERRORS_LISTED:
                self._errors.append(f"order {number}: {why}")

    def _report(self) -> LoadReport:
        seconds = time.monotonic() - self._started
        return LoadReport(
            seed=self.maker.seed,
            posted=len(self._took),
            accepted=self._answers["accepted"],
            existing=self._answers["existing"],
            failed=self._answers["failed"],
            reconnects=self._reconnects,
            seconds=round(seconds, 3),
            per_second=round(len(self._took) / seconds, 2),
            p50_ms=_percentile(self._took, 0.50),
            p95_ms=_percentile(self._took, 0.95),
            errors=tuple(self._errors),
        )


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0
