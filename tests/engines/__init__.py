"""Engines that people run: another Docker than this machine's, set up otherwise, or another program with its API."""
