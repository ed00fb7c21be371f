"""How pages become a site: `docs/build` runs `build`, which stages them (`staging`) and runs Sphinx (`conf`)."""
