"""`output KEY=VALUE` lines without an end: the runner keeps a bounded part of them, and says so."""

from __future__ import annotations


def test_output_lines_beyond_the_bound_are_dropped_with_a_warning(project):
    project.write("flood.py", "v = 'x' * 1000\nfor i in range(20_000):\n    print(f'::taskrun output k{i}={v}')\n")
    project.tasks("""
        [tasks.a]
        run = ["python3", "flood.py"]
        log = false
        [tasks.b]
        needs = ["a"]
        run = ["echo", "{{ tasks.a.result.k0 }}"]
        [tasks.c]
        needs = ["a"]
        run = ["echo", "{{ tasks.a.result.k19999 }}"]
    """)
    finished = project.taskrun("run", "b", "c", "-k", "--output", "none", "--ui", "plain").exits(1)
    finished.says("`output` lines of more than 16 MiB", "is dropped").says("k19999").never_says("a bug")
