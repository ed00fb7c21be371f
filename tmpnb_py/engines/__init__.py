"""What starts and removes containers: one protocol (`base`), Docker's engine, and one in memory for tests."""
