"""Checks calls against imported targets: parameters, and every mistake in every call. Imports and forks nothing."""

from __future__ import annotations

import msgspec

from taskrun.worker import targets, wire
from taskrun.worker.convert import Signature, bind, prepare


def by_module(request: wire.InspectRequest) -> tuple[dict[str, list[wire.CallSite]], dict[str, wire.TargetReport]]:
    """The calls by the module of their target, in order; and the reports on targets of no such form.

    A target without a colon is a module that is only to be imported.
    """
    modules: dict[str, list[wire.CallSite]] = {}
    refused: dict[str, wire.TargetReport] = {}
    for call in request.calls:
        if ":" not in call.target:
            modules.setdefault(call.target, [])
            continue
        try:
            module, _ = targets.split(call.target)
        except targets.TargetMistake as mistake:
            refused[call.target] = wire.TargetReport(error=mistake.mistake)
        else:
            modules.setdefault(module, []).append(call)
    return modules, refused


def inspect(calls: list[wire.CallSite], open_keys: dict[str, str]) -> wire.InspectReply:
    """The targets and problems of calls whose modules have been imported."""
    reports: dict[str, wire.TargetReport] = {}
    signatures: dict[str, Signature] = {}
    problems: list[wire.CallProblem] = []
    for call in calls:
        if call.target not in reports:
            reports[call.target] = _report(call.target, signatures)
        if call.target in signatures:
            problems += _check(call, signatures[call.target], open_keys)
    return wire.InspectReply(targets=reports, problems=tuple(problems))


def _report(target: str, signatures: dict[str, Signature]) -> wire.TargetReport:
    try:
        function, signature = prepare(target)
    except targets.TargetMistake as mistake:
        return wire.TargetReport(error=mistake.mistake)
    signatures[target] = signature
    file, line, summary = targets.definition(function)
    return wire.TargetReport(
        parameters=signature.parameters(), open=signature.open, file=file, line=line, summary=summary
    )


def _check(call: wire.CallSite, signature: Signature, open_keys: dict[str, str]) -> list[wire.CallProblem]:
    """What is wrong with one call, the values that it will get from the command line included."""
    filled = {
        name: value
        for name, value in open_keys.items()
        if name in signature.named and name not in call.kwargs and name not in call.unknown
    }
    for slot in signature.by_position[: len(call.args)]:
        filled.pop(slot.name, None)  # given by position
    return bind(
        signature,
        call.args,
        {**call.kwargs, **filled},
        lax=(*call.lax, *filled),
        unknown=call.unknown,
        site=call.id,
    ).problems


def merge(parts: list[wire.InspectReply]) -> wire.InspectReply:
    """One reply of several, each about other modules."""
    return wire.InspectReply(
        modules={name: report for part in parts for name, report in part.modules.items()},
        targets={name: report for part in parts for name, report in part.targets.items()},
        problems=tuple(sorted((problem for part in parts for problem in part.problems), key=lambda p: p.site)),
    )


request_decoder = msgspec.msgpack.Decoder(wire.InspectRequest)
reply_decoder = msgspec.msgpack.Decoder(wire.InspectReply)
encode = msgspec.msgpack.Encoder().encode
