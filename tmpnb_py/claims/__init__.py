"""Claims: from a visitor's request to a notebook, by way of tickets, the line and the hand-over, which is final."""
