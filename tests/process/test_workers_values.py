"""What goes to a worker and back, and what is said of what cannot; the pool works on whatever it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from support.values_worker import Give, GiveNumber, Take

from taskrun.workers import ContractMistake, HandlerFailed, open_worker

TARGET = "support.values_worker:handlers"


def test_values_that_cannot_come_back_fail_their_request_alone():
    async def main() -> None:
        async with open_worker(TARGET) as worker:
            for name, why in [
                ("surrogate", "text with a lone surrogate, which UTF-8 cannot hold"),
                ("overflow", "a whole number beyond 64 bits"),
                ("foreign", "`Foreign` is no type that can be carried"),
                ("generator", "`generator` is no type that can be carried"),
                ("large", "it takes 67,108,870 bytes, more than the 67,108,864 that may be sent at once"),
            ]:
                with pytest.raises(HandlerFailed) as caught:
                    await worker.send(Give(name))
                assert caught.value.message == f"its result cannot be sent back: {why}"
            assert await worker.send(GiveNumber("number")) == 3
            with pytest.raises(HandlerFailed, match="something else than the contract says: Expected `int`, got `str`"):
                await worker.send(GiveNumber("text"))
            assert await worker.send(Give("euros")) == "\N{EURO SIGN}" * 1_200_000
            assert worker.statistics.started == 1

    trio.run(main)


def test_values_that_cannot_be_sent_are_refused_here():
    async def main() -> None:
        async with open_worker(TARGET) as worker:
            for value, why in [
                ("\ud800", "`anything`: text with a lone surrogate, which UTF-8 cannot hold"),
                (2**64, "`anything`: a whole number beyond 64 bits"),
                (object(), "`anything`: `object` is no type that can be carried"),
                (bytes(70_000_000), "more than the 67,108,864 that may be sent at once"),
            ]:
                with pytest.raises(ContractMistake) as caught:
                    await worker.send(Take(None, value))
                assert str(caught.value).startswith("this `Take` cannot be sent: ")
                assert why in str(caught.value)
            with pytest.raises(ContractMistake, match="is no request class"):
                await worker.send(3)
            with pytest.raises(HandlerFailed, match=r"Expected a path, got `3` - at `\$\.path`|Expected `.*`, got `3`"):
                await worker.send(Take(3))
            assert await worker.send(Take(Path("a/b"))) == Path("a/b")
            assert await worker.send(Take(None)) is None

    trio.run(main)


def test_map_gives_each_request_its_own_mistake():
    class RefusalError(Exception):
        pass

    async def refuses(request, go_on):
        if request.path == Path("refused"):
            raise RefusalError
        return await go_on(request)

    async def main() -> None:
        wanted = [Take(Path("a")), Take(None, object()), Take(Path("refused")), Take(Path("b"))]
        async with open_worker(TARGET, middleware=[refuses]) as worker:
            done = [each async for each in worker.map(wanted)]
        assert [each.request for each in done] == wanted
        assert [type(each.failure) for each in done] == [type(None), ContractMistake, RefusalError, type(None)]
        assert done[3].result == Path("b")
        with pytest.raises(RefusalError):
            _ = done[2].result

    trio.run(main)
