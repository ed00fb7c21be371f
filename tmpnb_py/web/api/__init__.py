"""The API for programs on the public listener, its schema, and its description."""
