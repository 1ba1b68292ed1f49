"""taskrun's side of `arrays.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskrun.workers import Handlers, Request, SharedBuffer


@dataclass(frozen=True)
class Sum(Request[float]):
    array: NDArray[np.float64]


@dataclass(frozen=True)
class Same(Request[NDArray[np.float64]]):
    array: NDArray[np.float64]


@dataclass(frozen=True)
class Add(Request[None]):
    shared: SharedBuffer
    times: int


handlers = Handlers()


@handlers.on(Sum)
def sum_up(request: Sum) -> float:
    return float(request.array.sum())


@handlers.on(Same)
def same(request: Same) -> NDArray[np.float64]:
    return request.array


@handlers.on(Add)
def add(request: Add) -> None:
    counter = request.shared.counter()
    for _ in range(request.times):
        counter.add(1)
