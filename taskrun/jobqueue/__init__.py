"""The durable queue: jobs that outlive the process that stored them, and the engines that keep them.

What is imported here is asked for by name from its module: whoever stores a job need not load what serves it.
"""
