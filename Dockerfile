# The image of tmpnb-py itself (the notebooks' image is workshop_image/Dockerfile). It works with Docker's classic
# builder and with BuildKit: no "# syntax=" line and no "RUN --mount".
#
#   docker build --tag tmpnb-py .          or, with the notebooks' image and everything around it: docker compose up
#
# Where a company's proxy re-signs TLS, its certificates go into workshop_image/certs/*.crt, for both images
# (git-ignored, may be absent). Only the stage "build" sees them; nothing of them reaches the finished image.

ARG BASE=debian:bookworm-slim

# ---- build: the virtual environment /opt/tmpnb-py ------------------------------------------------------------
FROM ${BASE} AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3-venv
# A pattern that matches nothing is allowed beside files that exist, so certs/ may be absent.
COPY pyproject.toml README.md LICENSE workshop_image/certs*/*.crt /src/
# A company's mirror of PyPI: --build-arg PIP_INDEX_URL=https://…
ARG PIP_INDEX_URL=https://pypi.org/simple
ENV PIP_CERT=/src/ca.pem PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The libraries first: they change less often than what uses them.
RUN find /src -name '*.crt' -exec cat /etc/ssl/certs/ca-certificates.crt {} + > /src/ca.pem \
    && if ! [ -s /src/ca.pem ]; then cp /etc/ssl/certs/ca-certificates.crt /src/ca.pem; fi \
    && python3 -m venv /opt/tmpnb-py \
    && python3 -c 'import tomllib; print(*tomllib.load(open("/src/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > /src/requirements.txt \
    && /opt/tmpnb-py/bin/pip install --only-binary :all: -r /src/requirements.txt
COPY tmpnb_py /src/tmpnb_py
COPY workshop_image /src/workshop_image
RUN /opt/tmpnb-py/bin/pip install --no-deps /src \
    && /opt/tmpnb-py/bin/pip uninstall --yes --quiet pip setuptools

# ---- the finished image --------------------------------------------------------------------------------------
FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    # Not 1000: that is who visitors are in their containers (see tmpnb_py/engines/sockets.py).
    && useradd --uid 10000 --user-group --no-log-init --no-create-home --shell /usr/sbin/nologin tmpnb
COPY --from=build /opt/tmpnb-py /opt/tmpnb-py
COPY packaging/as-tmpnb.sh /usr/local/bin/tmpnb-py
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    TMPNB_RUNTIME_DIR=/run/tmpnb-py
LABEL org.opencontainers.image.title="tmpnb-py" \
      org.opencontainers.image.description="Temporary Jupyter notebooks: pool, proxy and reaper in one program" \
      org.opencontainers.image.licenses="BSD-3-Clause"
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python3", "-I", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('TMPNB_PORT', '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["tmpnb-py"]
CMD ["serve"]
