"""The ways to save a cluster, one a file."""
