"""Engines: ways to run the shards of a long run, in this process, in several of this machine, or in actors of Ray.

Each asks a job for what makes records, which so needs to know nothing of where it runs.
"""
