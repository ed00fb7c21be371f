"""The local engine: one sandboxed process per notebook on this machine, no Docker, no root."""
