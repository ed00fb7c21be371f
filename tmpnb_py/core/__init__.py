"""The ground: values, errors, units, URLs, tasks and logging. Everybody may use it; it imports nothing of ours."""
