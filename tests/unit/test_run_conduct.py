"""What the conductor does while a run is being set up."""

from __future__ import annotations

from typing import Any

import trio

from taskrun.run import conduct
from taskrun.run.conduct import Conductor


class Noted:
    """Stands in for whoever is told something: notes what."""

    def __init__(self, told: list[str], name: str, *, then: Any = None) -> None:
        self._told = told
        self._name = name
        self._then = then

    async def suspend(self) -> None:
        self._told.append(f"{self._name} suspended")
        if self._then is not None:
            self._then()

    async def resume(self) -> None:
        self._told.append(f"{self._name} resumed")

    def keyboard_is_a_tasks(self) -> bool:
        return True


def test_a_run_that_begins_while_everything_is_being_stopped_has_no_pause_to_tell_of(monkeypatch):
    told: list[str] = []
    conductor: Any = Conductor.__new__(Conductor)
    conductor._run = None
    conductor._link = Noted(told, "link", then=lambda: setattr(conductor, "_run", Noted(told, "run")))
    monkeypatch.setattr(conduct, "stop_this_process", lambda: told.append("stopped"))
    trio.run(conductor.suspend)
    assert told == ["link suspended", "stopped", "link resumed"]
