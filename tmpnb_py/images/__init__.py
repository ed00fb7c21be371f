"""Images: build, find, load, save and check them."""
