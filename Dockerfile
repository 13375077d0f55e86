# Footnote's images: the server, and the commands `python -m ingestion` and `python -m storage`, for linux/amd64.
#
#   docker build -t footnote .                          everything that the README shows
#   docker build -t footnote:slim --target slim .       less than half of it: no torch, no language model
#   docker run --init --read-only --tmpfs /tmp -v footnote-data:/data -p 127.0.0.1:8000:8000 \
#       -e FOOTNOTE_SERVER__ALLOWED_HOSTS=localhost -e FOOTNOTE_AUTH__MODE=off footnote
#
# In a container the server listens on every interface, so it does not start until FOOTNOTE_AUTH__MODE says whether keys are
# needed: off where the port is published on 127.0.0.1 alone, else required (docs/authentication.md).
#
# `full` is what one gets who names no target: it answers without a key, by a small language model, and opens any embedding
# model or reranker of a hub. `slim` embeds with the bundled model, which is exported to ONNX below, and writes by a language
# model of yours (an API, Ollama, vLLM, …), or quotes. scripts/image builds, runs and measures both.
#
# What is only needed to install stays behind in the stages before. The base image is pinned by tag; pin it by digest
# (--build-arg PYTHON=python:3.11-slim-bookworm@sha256:…) where your builds must be the same from one day to the next.
ARG PYTHON=python:3.11-slim-bookworm
# What the stages that install are built on: the same, or the same with your network's certificates and indexes.
ARG BUILDER=${PYTHON}

# --- `installer`: the scripts that fill a virtual environment from a hash-locked list. Every file is checked against its
# SHA-256; torch is the CPU build, not the registry's gigabytes of CUDA. No compiler: everything comes as a wheel.
FROM ${BUILDER} AS installer
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
COPY scripts/install scripts/torch-source scripts/installer.lock scripts/

# --- `installed-slim`, `installed-full`: the environments. A list of packages is all they are made from: a change of
# Footnote's own code leaves them as they are. Bytecode is written now: at run time the file system is read-only. The
# installers stay out of the images.
FROM installer AS installed-slim
COPY requirements-slim.lock ./
RUN --mount=type=cache,target=/root/.cache \
    python -m venv /opt/venv \
    && UV_COMPILE_BYTECODE=1 scripts/install /opt/venv requirements-slim.lock \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes uv pip

FROM installer AS installed-full
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache \
    python -m venv /opt/venv \
    && UV_COMPILE_BYTECODE=1 scripts/install /opt/venv requirements.lock \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes uv pip

# --- `exported`: the bundled embedding model as ONNX, which takes torch to make and none to run. Only the code that an
# export depends on is here, so that no other change repeats it.
FROM installed-full AS exported
WORKDIR /app
COPY config config
COPY storage storage
COPY embedding embedding
RUN /opt/venv/bin/python -m embedding export /opt/footnote/models

# --- `code`: Footnote's own, compiled.
FROM ${BUILDER} AS code
WORKDIR /app
COPY config config
COPY storage storage
COPY embedding embedding
COPY ingestion ingestion
COPY server server
COPY web web
COPY relevance relevance
COPY evaluation evaluation
COPY footnote footnote
COPY docs docs
COPY LICENSE ./
RUN python -m compileall -q .

# --- `runtime`: what the images share: Python without its installer, and a user that owns nothing but /data.
FROM ${PYTHON} AS runtime
LABEL org.opencontainers.image.title="Footnote" \
      org.opencontainers.image.description="The server in front of your LlamaIndex index: cited answers, safe indexing, streams that end." \
      org.opencontainers.image.licenses="Apache-2.0"

# The embedded PostgreSQL looks its user up, so the number needs a name.
RUN useradd --uid 10001 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin footnote \
    && install --directory --owner=10001 --group=10001 /data \
    && if python -m pip --version >/dev/null 2>&1; then \
         python -m pip uninstall --quiet --yes --root-user-action=ignore setuptools wheel pip; fi

# All that is written goes to /data (database, models, caches of model hubs) or to /tmp, a tmpfs. Nothing is downloaded when
# it runs, unless a setting names a model of a hub.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    HF_HOME=/data/huggingface \
    XDG_CACHE_HOME=/data/cache \
    TMPDIR=/tmp \
    FOOTNOTE_DATA_DIR=/data \
    FOOTNOTE_EMBEDDING__EXPORTS=/opt/footnote/models \
    FOOTNOTE_SERVER__HOST=0.0.0.0 \
    FOOTNOTE_LOG__FORMAT=json

WORKDIR /app
VOLUME /data
EXPOSE 8000
USER 10001:10001

# SIGTERM lets running requests finish, for FOOTNOTE_SERVER__SHUTDOWN_TIMEOUT seconds; give docker stop a little more.
STOPSIGNAL SIGTERM
# A first start with a model of a hub downloads and exports it. /health says that the process lives; /ready looks at the rest.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; port = os.environ.get('FOOTNOTE_SERVER__PORT') or '8000'; urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=4)"]

# The upgrade takes a lock in the database, so several containers may start at once. Where schema changes are a step of
# their own (docker-compose.yml does that), run `python -m storage upgrade` there and `python -m server` here.
CMD ["sh", "-c", "python -m storage upgrade && exec python -m server"]

# --- The images: what changes least comes first.
FROM runtime AS slim
COPY --from=installed-slim /opt/venv /opt/venv
COPY --from=exported /opt/footnote/models /opt/footnote/models
COPY --from=code /app /app

FROM runtime AS full
COPY --from=installed-full /opt/venv /opt/venv
COPY --from=exported /opt/footnote/models /opt/footnote/models
COPY --from=code /app /app
