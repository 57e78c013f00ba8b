"""The scan: positions, chunks, spill, checkpoints, sweep and walk, and the run they make."""
