#!/bin/sh
# Install the locked requirements in the file $1 into /opt/jupyter, leave out what no visitor's server ever reads, and
# compile the rest. Run in the building stages only.
set -eu

find /build -name '*.crt' -exec cat /etc/ssl/certs/ca-certificates.crt {} + > /build/ca.pem
[ -s /build/ca.pem ] || cp /etc/ssl/certs/ca-certificates.crt /build/ca.pem
[ -d /opt/jupyter ] || python3 -m venv /opt/jupyter
# A path for the label org.tmpnb.static that does not change with Python's version.
[ -e /opt/jupyter/lib/python3 ] || (cd /opt/jupyter/lib && ln -s python3.* python3)
PIP_CERT=/build/ca.pem /opt/jupyter/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes \
    --only-binary :all: --disable-pip-version-check --root-user-action ignore -r "$1"

# Left out: the means to rebuild the user interface and a second copy of it, source maps, tests, the locales of a
# library that serves one language, what pip no longer needs; and jupytext's part for JupyterLab (33 kB at each first
# visit, and seven more entries in the launcher), of which ours does what visitors need.
cd /opt/jupyter
rm -rf share/jupyter/lab/staging share/man share/jupyter/labextensions/jupyterlab-jupytext
(cd lib/python3/site-packages && rm -rf setuptools* pkg_resources _distutils_hack distutils-precedence.pth \
    jupyterlab/galata jupyterlab/static jupyterlab_jupytext jedi/third_party/django-stubs)
# JupyterLab would load plotly's 4.8 MB at each start. Where it is told of no renderer, it loads only the entry point, and
# our extension loads the rest for the first figure (labextension/static/plotly.js).
plotly=share/jupyter/labextensions/jupyterlab-plotly/package.json
[ ! -e "$plotly" ] || /usr/bin/python3 - "$plotly" << 'END'
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
described = json.loads(path.read_text())
described["jupyterlab"]["_build"].pop("mimeExtension", None)
path.write_text(json.dumps(described, indent=2))
END
find . \( -name '*.map' -o -path '*/babel/locale-data/*.dat' ! -name 'en*' ! -name root.dat \) -type f -delete
find lib -type d \( -name tests -o -name test \) -path '*/site-packages/*' -prune -exec rm -rf {} +

# On a read-only root nothing can be compiled later, and a hash that is never checked survives a changed time stamp.
# What an earlier call has compiled stays.
[ -e /build/compiled ] || touch -d @0 /build/compiled
find lib -name '*.py' -newer /build/compiled -print0 \
    | xargs -0 -r -n 400 -P "$(nproc)" /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash
touch /build/compiled
sed -i 's/^include-system-site-packages.*/include-system-site-packages = true/' pyvenv.cfg
