# Two images:
#
#   docker build --target server       -t millrace .                gateway, runtime, engine, migrate
#   docker build --target orchestrator -t millrace-orchestrator .   the orchestrator, with Node 24
#
# Both run as user 65532, need no more than a writable /tmp (and /data for the orchestrator), and work
# with a read-only root. The server image has no shell.
#
# The base images are arguments: `make base-images` makes stand-ins where none can be pulled.
ARG RUST_IMAGE=docker.io/library/rust:1.94-bookworm
ARG SERVER_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG NODE_IMAGE=docker.io/library/node:24-bookworm-slim
# An image that has /out/usr/local/bin/millrace already, in place of compiling it (BuildKit only).
ARG COMPILED=build

# --- what decides about dependencies, and nothing else: the layers of `build` up to the sources stay
#     cached for as long as this comes out the same
FROM ${RUST_IMAGE} AS skeleton
COPY . /source
RUN /source/scripts/docker/skeleton /source /skeleton

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# What is stripped from the binary anyway is not made, which spares disk and time.
ENV CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_DEBUG=none
# How many things cargo compiles at once; as many as there are processors when empty.
ARG JOBS
COPY --from=skeleton /skeleton ./
RUN cargo build --release --locked --package millrace ${JOBS:+--jobs $JOBS}
COPY . .
# Sources may be older than the empty ones that were compiled in their place.
RUN find crates examples -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package millrace ${JOBS:+--jobs $JOBS} \
    && install -D target/release/millrace /out/usr/local/bin/millrace \
    && install -D -m 644 LICENSE /out/usr/share/licenses/millrace/LICENSE

FROM ${COMPILED} AS compiled

# --- the orchestrator, with what services are built and run with
FROM ${NODE_IMAGE} AS orchestrator
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Millrace orchestrator" \
      org.opencontainers.image.description="Builds services and runs them as live processes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN install -d -m 700 -o 65532 -g 65532 /data \
    && install -d -o 65532 -g 65532 /projects
COPY --from=compiled /out/ /
# npm and what services write for themselves.
ENV HOME=/tmp \
    NPM_CONFIG_CACHE=/tmp/.npm \
    MILLRACE_ORCHESTRATOR__DATA_DIR=/data \
    MILLRACE_ORCHESTRATOR__ROOTS=/projects \
    MILLRACE_ORCHESTRATOR__ADMIN_LISTEN=127.0.0.1:9090 \
    MILLRACE_ORCHESTRATOR__KEEP_SERVICES=false
USER 65532:65532
WORKDIR /tmp
EXPOSE 50052 9090
VOLUME ["/data", "/projects"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["millrace", "health"]
ENTRYPOINT ["millrace"]
CMD ["orchestrator"]

# --- gateway, runtime, engine and migrate; the last stage is what `docker build .` makes
FROM ${SERVER_IMAGE} AS server
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Millrace" \
      org.opencontainers.image.description="Deploys workflows and runs services: gateway, runtime, engine, migrate" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=compiled /out/ /
# Where `millrace health` asks, whatever the role.
ENV MILLRACE_GATEWAY__ADMIN_LISTEN=127.0.0.1:9090 \
    MILLRACE_RUNTIME__ADMIN_LISTEN=127.0.0.1:9090 \
    MILLRACE_ENGINE__ADMIN_LISTEN=127.0.0.1:9090
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 9090 50051 50053
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["millrace", "health"]
ENTRYPOINT ["millrace"]
CMD ["--help"]
