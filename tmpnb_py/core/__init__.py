"""The ground: values, errors, units, addresses and names that everything else uses. Imports nothing else of ours."""
