"""The other reference flows over HTTP, beside the orders of the load generator."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

PATIENCE = 60.0
DEVICES = {"dev_known": 8, "dev_stolen": 1, "dev_slow_scorer": 1}


class Flows:
    """Posts payments, appointments with their changes, readings and training runs, evenly over ``seconds``."""

    def __init__(self, address: str, *, seconds: float, seed: int) -> None:
        self._client = httpx.Client(base_url=address, trust_env=False, timeout=30)
        self._dice = random.Random(seed)
        self._seconds = seconds
        self._failure: Exception | None = None
        self.posted: dict[str, list[str]] = {"payments": [], "appointments": [], "readings": [], "runs": []}
        self._thread = threading.Thread(target=self._post_all, name="flows", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._client.close()

    def wait(self) -> None:
        """Wait until all is posted; a request that was refused is the test's failure."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def states(self) -> dict[str, Counter[str]]:
        """Ask for every payment, appointment and run how it ended."""
        places = {"payments": "/bank/payments", "appointments": "/clinic/appointments", "runs": "/lab/runs"}
        return {
            flow: Counter(self._client.get(f"{place}/{id}").json()["state"] for id in self.posted[flow])
            for flow, place in places.items()
        }

    def _post_all(self) -> None:
        steps = [self._pay] * 60 + [self._book] * 40 + [self._move] * 8 + [self._cancel] * 6
        steps += [self._measure] * 30 + [self._train] * 4
        self._dice.shuffle(steps)
        try:
            for step in steps:
                step()
                time.sleep(self._seconds / len(steps))
        except Exception as failure:  # noqa: BLE001  shown by wait()
            self._failure = failure

    def _pay(self) -> None:
        payment = {
            "account": f"AC-{self._dice.randrange(1, 9):03}",
            "merchant": "M-BOOKS",
            "amount_cents": self._dice.randrange(100, 900_000),
            "country": "DE",
            "device": self._dice.choices(list(DEVICES), list(DEVICES.values()))[0],
        }
        self._post("payments", "/bank/payments", "payment_id", payment)

    def _book(self) -> None:
        appointment = {
            "patient": "Ada Byron",
            "phone": "+491511234567",
            "practitioner": self._dice.choice(("dr-adams", "dr-bauer")),
            "room_kind": self._dice.choice(("consultation", "ultrasound")),
            "starts_at": self._slot(),
        }
        self._post("appointments", "/clinic/appointments", "appointment_id", appointment)

    def _move(self) -> None:
        if some := self.posted["appointments"]:
            self._ask(f"/clinic/appointments/{self._dice.choice(some)}/reschedule", {"starts_at": self._slot()}, {409})

    def _cancel(self) -> None:
        if some := self.posted["appointments"]:
            self._ask(f"/clinic/appointments/{self._dice.choice(some)}/cancel", {}, {409})

    def _measure(self) -> None:
        now = datetime.now(UTC).isoformat()
        readings = [
            {
                "reading_id": self._id(),
                "sensor": f"boiler-{number % 4 + 1}",
                "kind": "temperature",
                "value": 64 + self._dice.random(),
                "unit": "°C",
                "measured_at": now,
            }
            for number in range(20)
        ]
        self._ask("/plant/readings", readings, set())
        self.posted["readings"] += [str(reading["reading_id"]) for reading in readings]

    def _train(self) -> None:
        self._post("runs", "/lab/runs", "run_id", {"dataset": "breast_cancer", "seed": self._dice.randrange(1000)})

    def _slot(self) -> str:
        """Return one of few slots, so that patients compete for them."""
        day = datetime.now(UTC).date() + timedelta(days=self._dice.randrange(2, 4))
        return f"{day.isoformat()}T{self._dice.randrange(9, 16):02}:{self._dice.choice(('00', '30'))}:00Z"

    def _id(self) -> str:
        return str(UUID(int=self._dice.getrandbits(128), version=4))

    def _post(self, flow: str, path: str, field: str, body: dict[str, Any]) -> None:
        id = self._id()
        self._ask(path, {field: id, **body}, set())
        self.posted[flow].append(id)

    def _ask(self, path: str, body: object, refusals: set[int]) -> None:
        """Post until there is an answer: what is posted again under its id is taken once."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._client.post(path, json=body)
            except httpx.TransportError:
                if time.monotonic() > ends:
                    raise
            else:
                if answer.status_code < 500 or time.monotonic() > ends:
                    break
            time.sleep(0.3)
        assert answer.is_success or answer.status_code in refusals, f"{path}: {answer.status_code} {answer.text[:500]}"
