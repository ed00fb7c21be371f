"""What hostile people try, driven as suites."""
