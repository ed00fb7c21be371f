"""The ground: values, errors, units, URLs, tasks and logging that everything else uses. Imports nothing else of ours."""
