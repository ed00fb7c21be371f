# The image of tmpnb-py itself (the notebooks' image is workshop_image/Dockerfile). It works with Docker's classic
# builder and with BuildKit: no "# syntax=" line and no "RUN --mount". docs/service-image.md is for who uses it.
#
#   docker build --tag tmpnb-py .          or, with the notebooks' image and everything around it: docker compose up
#
# Where a company's proxy re-signs TLS, its certificates go into workshop_image/certs/*.crt, for both images
# (git-ignored, may be absent). Only the stage "build" sees them; nothing of them reaches the finished image.

ARG BASE=debian:bookworm-slim

# ---- runtime: what the finished image has of Debian ----------------------------------------------------------
FROM ${BASE} AS runtime
# Neither logs nor caches, nor the day on which the user was made: they would differ from build to build.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 \
    && apt-get clean \
    # Not 1000: that is who visitors are in their containers (see tmpnb_py/engines/sockets.py).
    && useradd --uid 10000 --user-group --no-log-init --no-create-home --shell /usr/sbin/nologin tmpnb \
    && sed -i 's/^\(tmpnb:[^:]*\):[0-9]*:/\1::/' /etc/shadow \
    && install -d -o tmpnb -g tmpnb -m 0700 /run/tmpnb-py /var/lib/tmpnb-py \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache \
        /var/log/apt /var/log/*.log /etc/*- /var/lib/dpkg/*-old

# ---- build: the virtual environment /opt/tmpnb-py ------------------------------------------------------------
FROM runtime AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
# A pattern that matches nothing is allowed beside files that exist, so certs/ may be absent.
COPY packaging/requirements.txt packaging/requirements-build.txt workshop_image/certs*/*.crt /build/
# A company's mirror of PyPI: --build-arg PIP_INDEX_URL=https://…
ARG PIP_INDEX_URL=https://pypi.org/simple
ENV PIP_CERT=/build/ca.pem PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The libraries first: they change less often than what uses them. Each is a file that the lock names (packaging/lock.py).
RUN find /build -name '*.crt' -exec cat /etc/ssl/certs/ca-certificates.crt {} + > /build/ca.pem \
    && if ! [ -s /build/ca.pem ]; then cp /etc/ssl/certs/ca-certificates.crt /build/ca.pem; fi \
    && python3 -m venv /build/tools \
    && /build/tools/bin/pip install --quiet --require-hashes --only-binary :all: -r /build/requirements-build.txt \
    && python3 -m venv --without-pip /opt/tmpnb-py \
    && /build/tools/bin/pip --python /opt/tmpnb-py/bin/python install --no-compile --require-hashes \
        --only-binary :all: --report /build/report.json -r /build/requirements.txt
COPY pyproject.toml README.md LICENSE /build/src/
COPY tmpnb_py /build/src/tmpnb_py
COPY workshop_image /build/src/workshop_image
COPY docs /build/src/docs
# Compiled, as nothing can be on a read-only root; by contents, so that it does not matter when: also what pip, which ran
# in this environment, has compiled by a file's time already. A commit's own time
# (--build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)) is that of every file.
ARG SOURCE_DATE_EPOCH=0
RUN cd /build/src && /build/tools/bin/python -m hatchling build --target wheel --directory /build/dist \
    && /build/tools/bin/pip --python /opt/tmpnb-py/bin/python install --no-compile --no-deps --no-index /build/dist/*.whl \
    # Left out: the sources of compiled modules, what is for JupyterLab, and what a shell would need.
    && cd /opt/tmpnb-py && rm -rf share include bin/[Aa]ctivate* \
    && find lib -type f -not -path '*/tmpnb_py/*' \( -name '*.[ch]' -o -name '*.pyx' -o -name '*.px[di]' -o -name direct_url.json \) -delete \
    && find lib -type d -path '*/.hash' -prune -exec rm -rf {} + \
    && /opt/tmpnb-py/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/tmpnb-py/lib \
    && find /opt/tmpnb-py -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

# ---- sbom: what the finished image consists of ----------------------------------------------------------------
FROM runtime AS sbom
COPY packaging/sbom.py packaging/requirements.txt packaging/vendored.toml /build/
COPY --from=build /build/report.json /build/report.json
COPY --from=build /opt/tmpnb-py /opt/tmpnb-py
ARG SOURCE_DATE_EPOCH
RUN python3 -I /build/sbom.py --environment /opt/tmpnb-py --report /build/report.json --lock /build/requirements.txt \
        --vendored /build/vendored.toml > /build/sbom.cdx.json

# ---- the finished image --------------------------------------------------------------------------------------
FROM runtime
# Before the files, as builders that know a layer by its contents would take one that has other times.
ARG SOURCE_DATE_EPOCH=0
LABEL org.tmpnb.source-date-epoch="$SOURCE_DATE_EPOCH"
COPY --from=build /opt/tmpnb-py /opt/tmpnb-py
COPY --from=sbom /build/sbom.cdx.json /usr/share/doc/tmpnb-py/sbom.cdx.json
COPY packaging/as-tmpnb.sh /usr/local/bin/tmpnb-py
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    TMPNB_RUNTIME_DIR=/run/tmpnb-py
LABEL org.opencontainers.image.title="tmpnb-py" \
      org.opencontainers.image.description="Temporary Jupyter notebooks: pool, proxy and reaper in one program" \
      org.opencontainers.image.licenses="BSD-3-Clause AND Apache-2.0 AND MIT"
EXPOSE 8000
# By number, so that who forbids root sees that it is not. Who may use the engine's socket is its group's members
# (docker run --group-add); as root, as compose.yaml has it, the program finds out which that is, and becomes this user.
USER 10000:10000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python3", "-I", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('TMPNB_PORT', '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["tmpnb-py"]
CMD ["serve"]
