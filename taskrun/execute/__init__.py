"""One attempt to its outcome on this machine: inspection, programs, Python calls, clocks and the stop ladder.

It neither decides what runs when, nor shows anything. Import from the modules; this package loads none of them.
"""
