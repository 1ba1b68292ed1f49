"""Values on their way from a result into a Python call that the way there cannot carry."""

from __future__ import annotations


def test_a_number_beyond_64_bits_fails_the_task_that_gets_it_and_nothing_else(project):
    project.write("calls.py", "def big():\n    return 2**70\n\ndef take(x):\n    print(x)\n")
    project.tasks("""
        [tasks.big]
        python = "calls:big"
        [tasks.words]
        needs = ["big"]
        run = ["echo", "{{ tasks.big.result }}"]
        [tasks.call]
        needs = ["big"]
        python = "calls:take"
        args = { x = "{{ tasks.big.result }}" }
    """)
    finished = project.taskrun("run", "words", "call", "-k", "--output", "stream").exits(1)
    finished.prints("1180591620717411303424").says("an argument is a whole number beyond 64 bits").never_says("bug")
