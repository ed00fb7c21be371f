#!/bin/sh
# The container's first process. It is root for a moment, to learn which group may use the engine's socket (its number
# differs from machine to machine) and to own the runtime directory; then it is the user tmpnb for good.
set -eu

if [ "$(id -u)" = 0 ]; then
    groups=tmpnb
    host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    if [ -S "${host#unix://}" ]; then
        groups="$groups,$(stat -c %g "${host#unix://}")"
    fi
    mkdir -p "$TMPNB_RUNTIME_DIR"
    chown tmpnb:tmpnb "$TMPNB_RUNTIME_DIR"
    exec setpriv --reuid tmpnb --regid tmpnb --groups "$groups" --inh-caps=-all --no-new-privs tmpnb-py "$@"
fi
exec tmpnb-py "$@"
