"""The notebooks' image: built, found, loaded, saved and checked."""
