"""Sweeps: one setting changed at a time, and what that does to a scan."""
