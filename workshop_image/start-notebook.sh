#!/bin/sh
# Start JupyterLab with the arguments given. Runs as the visitor, below tini; replaces itself by the server, so
# that a signal to the container reaches it.
set -eu

work="$HOME/work"
# A fresh home (a tmpfs, an empty volume, the image's own) gets the workshops; one with content is left alone.
if [ -z "$(ls -A "$work" 2>/dev/null)" ]; then
    mkdir -p "$work"
    cp -R /usr/share/workshops/. "$work/"
    rm -f "$work/workshops.toml"
fi

cd "$work"  # where terminals and kernels without a document begin
exec jupyter-lab "$@"
