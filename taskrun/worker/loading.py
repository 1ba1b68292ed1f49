"""How a worker of a pool begins: finds the handlers, and has them serve; loads trio only for those that ask for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from taskrun.worker import contract, requests, targets, wire

if TYPE_CHECKING:
    from taskrun.worker.contract import Declared
    from taskrun.worker.session import Session


def serve(channel: Session, target: str, preload: tuple[str, ...] = ()) -> int:
    """Serves to the end of the channel, or until a stop was asked for; returns the exit status."""
    try:
        for name in preload:
            targets.import_module(name)  # mostly it is there; else the import says why it is not
        handlers = load(target)
    except targets.TargetMistake as mistake:
        channel.send_frame(requests.encode(requests.Hello(mistake=mistake.mistake)))
        return 1
    if isinstance(handlers, contract.Handlers):
        from taskrun.worker import serving

        return serving.serve(channel, handlers)
    from taskrun.worker import async_serving

    return async_serving.serve(channel, handlers)


def load(target: str) -> Declared:
    """The handlers of that name.

    Raises:
        TargetMistake: The import failed, or there are no handlers of that name.
    """
    module, name = targets.split(target)
    targets.import_module(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        if not hasattr(found, part):
            hint = targets.nearest(part, [each for each in vars(found) if not each.startswith("_")])
            text = f"module `{module}` has no `{name}`"
            raise targets.TargetMistake(wire.Mistake(type="not-found", message=text, hint=hint))
        found = getattr(found, part)
    if not isinstance(found, contract.Declared):
        text = f"`{target}` is a `{type(found).__qualname__}` and no `taskrun.workers.Handlers`"
        raise targets.TargetMistake(wire.Mistake(type="not-handlers", message=text))
    return found
