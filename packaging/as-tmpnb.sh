#!/bin/sh
# What `tmpnb-py` is in the container, as its first process and in `docker compose exec tmpnb tmpnb-py doctor`. Either is
# root for a moment, to learn which group may use the engine's socket (its number differs from machine to machine) and to
# own the runtime directory; then it is the user tmpnb for good, and finds and may do the same.
set -eu

program=/opt/tmpnb-py/bin/tmpnb-py
if [ "$(id -u)" = 0 ]; then
    groups=tmpnb
    host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    if [ -S "${host#unix://}" ]; then
        groups="$groups,$(stat -c %g "${host#unix://}")"
    fi
    mkdir -p "$TMPNB_RUNTIME_DIR"
    chown tmpnb:tmpnb "$TMPNB_RUNTIME_DIR"
    exec setpriv --reuid tmpnb --regid tmpnb --groups "$groups" --inh-caps=-all --no-new-privs "$program" "$@"
fi
exec "$program" "$@"
