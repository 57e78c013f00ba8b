"""Snapshots of a cluster: taken, proved, kept on record, and asked for before a risk."""
