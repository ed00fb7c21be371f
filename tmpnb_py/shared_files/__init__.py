"""Static files of an image, served once for all its notebooks (decision 10)."""
