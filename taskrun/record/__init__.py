"""A run's folder on disk: its events, logs and summary, what is kept between runs, and reading it all back.

It records what it is told and decides nothing; no trouble with the disk may ever stop or delay a task. Import from the
modules; this package loads none of them by itself.
"""
