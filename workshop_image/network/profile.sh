# For terminals, whose login shell resets PATH. Without a network, they say so at the start.
PATH=/opt/jupyter/bin:$PATH
if [ "${TMPNB_EGRESS:-}" = none ]; then
    PATH=/opt/jupyter/share/no-network:$PATH
    case $- in
        *i*) echo "This notebook has no network: pip, git clone, curl and the like reach nothing outside of it." ;;
    esac
fi
