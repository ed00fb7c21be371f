"""Renders a workshop's notebook as a page of notes. Pure: bytes in, HTML out; the input is hostile."""
