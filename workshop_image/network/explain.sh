#!/bin/sh
# Run the program of this name, and explain a failure without a network, as the program itself only names a host. In PATH
# only where there is no network, as `git`, `curl` and `wget`.
name=${0##*/}
own=${0%/*}
PATH=$(printf %s ":$PATH:" | sed "s|:$own:|:|g; s|^:||; s|:\$||")
export PATH
"$name" "$@"
status=$?
reaches=
case $name.$status in
    git.1 | git.128)
        # The subcommand is the first word that is no option, nor the value of -C or -c.
        before=
        for word in "$@"; do
            case $before.$word in
                -C.* | -c.* | *.-*) before=$word ;;
                *) break ;;
            esac
        done
        case ${word:-} in
            clone | fetch | pull | push | ls-remote) reaches=yes ;;
        esac
        ;;
    curl.5 | curl.6 | curl.7 | wget.4) reaches=yes ;;
esac
[ -z "$reaches" ] || echo "This notebook has no network: nothing outside of it can be reached." >&2
exit "$status"
