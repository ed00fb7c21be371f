"""The operator's commands, each a module: they talk to a running service, or to the engine where there is none."""
