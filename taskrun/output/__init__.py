"""What tasks write, made sense of: bytes to lines, progress lines and parsers, rate and ETA.

Pure: no file, no clock and no process is touched here; times come in as arguments, in seconds of any monotonic clock.
Import from the modules; this package loads none of them by itself.
"""
