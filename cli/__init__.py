"""The ``pgmend`` command: parse, one call of the library, render."""
