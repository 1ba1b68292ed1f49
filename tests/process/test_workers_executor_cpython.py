"""CPython's own tests of process pools, run against ``taskrun.workers.Executor`` where this Python ships them (3.12+).

``TASKRUN_CPYTHON_TESTS=all`` runs the slow ones too. What does not apply is listed, with the reason.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import unittest

import pytest

pytest.importorskip("test.test_concurrent_futures.util", reason="this Python comes without the tests of its futures")

from taskrun.workers import Executor

ALL = os.environ.get("TASKRUN_CPYTHON_TESTS") == "all"
PACKAGE = "test.test_concurrent_futures"

MIXINS = {
    "test_process_pool": ["ProcessPoolExecutorTest"],
    "test_as_completed": ["AsCompletedTests"],
    "test_wait": ["WaitTests"],
    "test_shutdown": ["ProcessPoolShutdownTest"],
    "test_init": ["InitializerMixin", "FailingInitializerMixin"],
    "test_deadlock": ["ExecutorDeadlockTest"],
}

PARTS = "looks into the parts of ProcessPoolExecutor, by private names: processes, queues, threads"
UNBROKEN = "expects a broken pool: here the call alone fails, with the error itself"
NOT_OURS = "makes a ProcessPoolExecutor by name; test_workers_executor_ends.py has the same for ours"

DOES_NOT_APPLY = {
    "ProcessPoolExecutorTest.test_killed_child": PARTS,
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": PARTS,
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": PARTS,
    "ProcessPoolExecutorTest.test_max_tasks_per_child": PARTS,
    "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": PARTS,
    "ProcessPoolExecutorTest.test_saturation": PARTS
    + "; passes a semaphore of multiprocessing, which only its own children get",
    "ProcessPoolExecutorTest.test_python_finalization_error": "expects a second thread, which there is not",
    "ProcessPoolShutdownTest.test_processes_terminate": PARTS,
    "ProcessPoolShutdownTest.test_context_manager_shutdown": NOT_OURS,
    "ProcessPoolShutdownTest.test_del_shutdown": NOT_OURS,
    "ProcessPoolShutdownTest.test_shutdown_no_wait": NOT_OURS,
    "ProcessPoolShutdownTest.test_interpreter_shutdown": NOT_OURS,
    "ProcessPoolShutdownTest.test_submit_after_interpreter_shutdown": NOT_OURS,
    "ProcessPoolShutdownTest.test_hang_gh83386": NOT_OURS,
    "ExecutorDeadlockTest.test_error_at_task_unpickle": UNBROKEN,
    "ExecutorDeadlockTest.test_exit_at_task_unpickle": UNBROKEN,
    "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": PARTS,
    "ExecutorDeadlockTest.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": PARTS,
}
# What passes, less the `test_`; other Pythons have others, which nobody has looked at.
PASSES = {
    "ProcessPoolExecutorTest": """
        free_reference map map_chunksize map_exception map_timeout max_tasks_early_shutdown max_workers_negative
        max_workers_too_large no_stale_references ressources_gced_in_workers shutdown_race_issue12456 submit
        submit_keyword traceback
    """,
    "AsCompletedTests": """
        correct_timeout_exception_msg duplicate_futures free_reference_yielded_future future_times_out
        no_timeout
    """,
    "WaitTests": """
        20369 all_completed first_completed first_completed_some_already_completed first_exception
        first_exception_one_already_failed first_exception_some_already_complete timeout
    """,
    "ProcessPoolShutdownTest": """
        cancel_futures hang_gh94440 hang_issue12364 run_after_shutdown
    """,
    "InitializerMixin": """
        initializer
    """,
    "FailingInitializerMixin": """
        initializer
    """,
    "ExecutorDeadlockTest": """
        crash_at_task_unpickle crash_big_data crash_during_func_exec_on_worker
        crash_during_result_pickle_on_worker error_at_task_pickle error_during_func_exec_on_worker
        error_during_result_pickle_on_worker error_during_result_unpickle_in_result_handler
        exit_during_func_exec_on_worker exit_during_result_pickle_on_worker
        exit_during_result_unpickle_in_result_handler shutdown_deadlock
    """,
}
LONG = "takes seconds; TASKRUN_CPYTHON_TESTS=all runs it"
SLOW = dict.fromkeys(
    [
        "ProcessPoolExecutorTest.test_map_timeout",
        "AsCompletedTests.test_duplicate_futures",
        "AsCompletedTests.test_free_reference_yielded_future",
        "AsCompletedTests.test_future_times_out",
        "WaitTests.test_20369",
        "WaitTests.test_first_completed",
        "WaitTests.test_first_completed_some_already_completed",
        "WaitTests.test_first_exception",
        "WaitTests.test_first_exception_some_already_complete",
        "WaitTests.test_first_exception_one_already_failed",
        "ProcessPoolShutdownTest.test_hang_issue12364",
    ],
    LONG,
)


class Context(multiprocessing.context.ForkContext):  # type: ignore[name-defined]  # there is one wherever workers are
    """For the managers that the tests start: they leave no tracker behind. Executors take it for a fork server's."""

    def get_start_method(self, allow_none=False) -> str:  # noqa: FBT002 - the base's
        return "forkserver"


def cases_of(mixin: type) -> list[str]:
    return [name for name in dir(mixin) if name.startswith("test_")]


def reason_against(name: str, case: str) -> str:
    """Why a case is not run; empty: it is."""
    if reason := DOES_NOT_APPLY.get(f"{name}.{case}"):
        return reason
    if case.removeprefix("test_") not in PASSES[name].split():
        return "a case of this Python that nobody has looked at"
    return "" if ALL else SLOW.get(f"{name}.{case}", "")


def declare() -> None:
    """Puts a test case for each of CPython's into this module."""
    util = importlib.import_module(f"{PACKAGE}.util")
    for module, names in MIXINS.items():
        for name in names:
            mixin = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
            between = () if issubclass(mixin, util.ExecutorMixin) else (util.ExecutorMixin,)
            body = {"executor_type": Executor, "get_context": lambda _self: Context(), "__module__": __name__}
            for case in cases_of(mixin):
                if reason := reason_against(name, case):
                    body[case] = unittest.skip(reason)(lambda _self: None)
            globals()[f"Test{name}"] = type(f"Test{name}", (mixin, *between, util.BaseTestCase), body)


declare()


def test_the_tables_say_something_of_every_case() -> None:
    known = {
        f"{name}.{case}"
        for module, names in MIXINS.items()
        for name in names
        for case in cases_of(getattr(importlib.import_module(f"{PACKAGE}.{module}"), name))
    }
    said = {f"{name}.test_{case}" for name, cases in PASSES.items() for case in cases.split()}
    assert set(SLOW) <= said
    assert not said & set(DOES_NOT_APPLY)
    if sys.version_info[:2] == (3, 13):  # others have more, or fewer
        assert said | set(DOES_NOT_APPLY) == known
