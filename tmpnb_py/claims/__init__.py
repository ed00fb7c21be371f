"""From a visitor's wish to a notebook: tickets, the line, and the hand-over, once and for ever."""
