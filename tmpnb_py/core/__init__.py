"""The ground: values, errors, units, URLs, tasks and logging that everything else uses. Imports none of ours."""
