"""Docker's engine: one container per notebook. The only folder that imports aiodocker."""
