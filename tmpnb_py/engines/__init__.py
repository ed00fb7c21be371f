"""Engines start and remove containers: one protocol (`base`), a folder per engine, and a fake for tests.

The pools, claims, images and commands use the protocol; only `registry` and the commands of one engine name an
engine's class.
"""
