"""Checks of an application: which version its files name, and what a change of it breaks."""
