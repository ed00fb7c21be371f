#!/bin/sh
# Install the files beside this one into an image: pip, IPython, R, shells and network programs then say
# at once that there is no network (TMPNB_EGRESS=none), and R gets a library that visitors can write to. Run as root.
set -eu

here=$(dirname "$0")
packages=/opt/jupyter/lib/python3/site-packages
cp "$here/tmpnb_network.py" "$packages/"
cat "$here/pip.py" >> "$packages/pip/__init__.py"
python3 -m compileall -q -f --invalidation-mode unchecked-hash "$packages/tmpnb_network.py" "$packages/pip/__init__.py"
install -D -m 644 "$here/ipython_config.py" /opt/jupyter/etc/ipython/ipython_config.py
install -m 644 "$here/profile.sh" /etc/profile.d/jupyter.sh
for name in git curl wget; do
    install -D -m 755 "$here/explain.sh" "/opt/jupyter/share/no-network/$name"
done
for profile in /etc/R /usr/lib/R/etc; do
    if [ -d "$profile" ]; then
        cat "$here/Rprofile.R" >> "$profile/Rprofile.site"
        break
    fi
done
rm -r "$here"
