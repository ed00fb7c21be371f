#!/bin/sh
# Start JupyterLab with the arguments given. Runs as the visitor, below tini; replaces itself by the server, so
# that a signal to the container reaches it.
set -eu

work="$HOME/work"
# A new home (a tmpfs, an empty volume, the image's own) gets the workshops; one with content is left alone.
if [ -z "$(ls -A "$work" 2>/dev/null)" ]; then
    mkdir -p "$work"
    cp -R "${TMPNB_WORKSHOPS:-/usr/share/workshops}/." "$work/"
    rm -f "$work/workshops.toml"
fi
# An author's folder (tmpnb-py image workshops --preview), always in its current state.
for entry in /usr/share/preview/*; do
    if [ -e "$entry" ] && [ "${entry##*/}" != workshops.toml ]; then
        rm -rf "$work/${entry##*/}"
        ln -s "$entry" "$work/"
    fi
done
# Prebuilt, as it is slow to build in each new home: matplotlib's list of fonts.
if [ -d /opt/jupyter/share/home ] && ! [ -e "$HOME/.cache" ]; then
    cp -R /opt/jupyter/share/home/. "$HOME/"
fi

# Without a network, programs that need it say so.
if [ "${TMPNB_EGRESS:-}" = none ] && [ -d /opt/jupyter/share/no-network ]; then
    PATH="/opt/jupyter/share/no-network:$PATH"
fi

cd "$work"  # the directory of terminals, and of kernels without a document

# Start commands written for tmpnb have all options in one quoted argument, with names from before Jupyter Server, and
# may quote values again. So such an argument is split, and every option gets its current name.
modernise() {
    case $word in
        --NotebookApp.token=*) word="--IdentityProvider.token=${word#*=}" ;;
        --NotebookApp.password=*) word="--PasswordIdentityProvider.hashed_password=${word#*=}" ;;
        --NotebookApp.*) word="--ServerApp.${word#--NotebookApp.}" ;;
    esac
}
unquote() {
    value=${word#*=}
    case $value in
        \"*\" | \'*\') value=${value#?} && word="${word%%=*}=${value%?}" ;;
    esac
}
left=$#
while [ "$left" -gt 0 ]; do
    left=$((left - 1))
    word=$1
    shift
    case $word in
        --*[[:space:]]--*)
            set -f
            for word in $word; do
                modernise
                unquote
                set -- "$@" "$word"
            done
            set +f
            ;;
        *)
            modernise
            set -- "$@" "$word"
            ;;
    esac
done

starter=/opt/jupyter/share/tmpnb/tmpnb_start.py
if [ -e "$starter" ] && [ "$(command -v jupyter-lab)" = /opt/jupyter/bin/jupyter-lab ]; then
    set -- "$starter" "$@"
    # A Python kernel that is to be warm begins together with the server, with this option of kernels.
    case ${TMPNB_WARM_KERNELS:-} in
        *'"python3"'*) set -- -Xfrozen_modules=off "$@" ;;
    esac
    exec /opt/jupyter/bin/python "$@"
fi
exec jupyter-lab "$@"
