"""The operator's listener: metrics, the pool, sessions."""
