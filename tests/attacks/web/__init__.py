"""What a hostile notebook's page tries in its visitor's browser."""
