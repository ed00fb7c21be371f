"""A workshop's notebook as a page to read. Pure: bytes in, HTML out; what is in an image is hostile."""
