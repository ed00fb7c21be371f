"""The heart: a pool's records, what it is planned to be, who makes it so, and how sessions end."""
