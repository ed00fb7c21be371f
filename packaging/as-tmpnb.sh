#!/bin/sh
# What `tmpnb-py` is in the container, as its first process and in `docker compose exec tmpnb tmpnb-py doctor`. The image
# has it run as the user tmpnb. Where it is started as root (compose.yaml, swarm.yaml), it is so for a moment, to learn
# which group may use the engine's socket (its number differs from machine to machine) and to own the runtime and the
# state directory; then it is the user tmpnb for good, and finds and may do the same.
set -eu

program=/opt/tmpnb-py/bin/tmpnb-py
host=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${host#unix://}
if [ "$(id -u)" = 0 ]; then
    groups=tmpnb
    if [ -S "$socket" ]; then
        groups="$groups,$(stat -c %g "$socket")"
    fi
    for directory in "$TMPNB_RUNTIME_DIR" ${TMPNB_STATE_DIR:+"$TMPNB_STATE_DIR"}; do
        mkdir -p "$directory"
        chown tmpnb:tmpnb "$directory"
    done
    exec setpriv --reuid tmpnb --regid tmpnb --groups "$groups" --inh-caps=-all --no-new-privs "$program" "$@"
fi
if [ -S "$socket" ] && ! [ -w "$socket" ]; then
    echo "The engine's socket is its group's: start this container with --group-add $(stat -c %g "$socket")" >&2
fi
exec "$program" "$@"
