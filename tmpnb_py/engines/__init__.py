"""Engines start and remove containers: one protocol (`base`), a folder per engine, and a fake for tests."""
