"""Traces of how a visitor gets a notebook (OpenTelemetry), off by default.

`switch` decides by the environment whether there are any, `otel` is the only file that knows the SDK, and is imported
only then. The rest of the program makes spans by `spans` and `visits`, which cost next to nothing while it is off.
"""
