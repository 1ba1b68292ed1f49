"""The supervisor process of a run: it spawns, forks through templates, reaps and sweeps, and imports no user code.

Nothing here imports more than cheap modules of the standard library, because the host may run with ``-I -S`` and
because its start is part of every ``taskrun run``. ``typing`` alone would double that, hence ``TYPE_CHECKING = False``,
which type checkers take for true.
"""
