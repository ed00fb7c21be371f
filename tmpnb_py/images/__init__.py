"""Images: build, find, load, save and check them. For the commands, and for a service whose image is missing."""
