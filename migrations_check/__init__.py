"""Checks around an upgrade: what will break in it, and whether a way back exists.

Empty so far; it may import ``dedupe``, and ``dedupe`` never imports it.
"""
