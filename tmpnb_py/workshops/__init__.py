"""What an image teaches: its manifest, its folders, and its notebooks as pages."""
