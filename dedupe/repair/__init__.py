"""The repair: from a plan to a healthy table, journaled, proved and undone."""
