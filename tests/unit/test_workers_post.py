"""What is sent to workers arrives whole and in order, however slowly it is read."""

from __future__ import annotations

import socket

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrun.workers.post import Outbox, Post


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300_000), st.booleans(), st.booleans()), max_size=12))
def test_what_many_send_arrives_in_order_whatever_goes_at_once(messages):
    sent, got = bytearray(), bytearray()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        post = Post()
        with ours, theirs:
            reader = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post.deliver)
                outbox = Outbox(ours, post, nursery)
                for number, (size, at_once, pause) in enumerate(messages):
                    data = bytes([number]) * size
                    sent.extend(data)
                    outbox.send(data, at_once=at_once)
                    if pause:
                        await trio.lowlevel.checkpoint()
                with trio.fail_after(30):
                    while len(got) < len(sent):
                        got.extend(await reader.receive_some(100_000))
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert got == sent


def test_what_is_sent_in_one_turn_goes_with_one_call():
    class Counting:
        calls = 0

        def send(self, data):
            self.calls += 1
            return len(data)

    async def main() -> None:
        sock, post = Counting(), Post()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.deliver)
            await trio.testing.wait_all_tasks_blocked()
            outbox = Outbox(sock, post, nursery)
            for _ in range(16):
                nursery.start_soon(sends, outbox)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert sock.calls == 1

    async def sends(outbox: Outbox) -> None:
        outbox.send(b"x", at_once=False)

    trio.run(main)


def test_a_worker_that_is_gone_gets_nothing_and_hurts_nobody():
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        post = Post()
        with ours, trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post.deliver)
                outbox = Outbox(ours, post, nursery)
                outbox.send(b"0" * 10_000_000, at_once=True)
                await trio.testing.wait_all_tasks_blocked()
                theirs.close()
                await trio.testing.wait_all_tasks_blocked()
                outbox.send(b"1", at_once=True)
                outbox.send(b"2", at_once=False)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    trio.run(main)
