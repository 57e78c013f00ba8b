"""A whole recipe beside what its table-by-table predecessor asks of the server at least."""
