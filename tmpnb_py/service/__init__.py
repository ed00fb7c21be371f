"""One service put together: what it needs of its machine, its parts, its start and its end."""
