"""Shards: a long run in numbered pieces, each a file that is whole or absent, in a folder that many processes share.

A folder, a manifest and something that makes records go in; parts come out, and what they hold together. Must not know
networks, nor where the processes run.
"""
