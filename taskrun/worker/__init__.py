"""The child's side of Python tasks: templates, workers, and the calls that a task function makes.

It runs inside users' processes, so it is made of the standard library and msgspec alone: never trio, click or rich.
"""
