# Two images of Tally, each with a target that builds it from source here, and one that takes programs which scripts/prebuilt
# copied to target/prebuilt:
#
#   tally, tally-prebuilt      all of Tally in one process, with its data in the volume /data
#   servers, servers-prebuilt  command-api, projector and query-api, for docker-compose.yml
#
# The targets that build need BuildKit, which is the builder of Docker since version 23.
ARG TALLY_RUST_IMAGE=rust:1.95-slim-bookworm
ARG TALLY_RUNTIME_IMAGE=debian:bookworm-slim

FROM ${TALLY_RUNTIME_IMAGE} AS base
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tally
USER 10001
# Who may reach these ports is decided where they are published.
ENV TALLY_WRITE_ADDR=0.0.0.0:8080 TALLY_READ_ADDR=0.0.0.0:3000
EXPOSE 8080 3000

FROM base AS tally-base
USER root
RUN install --directory --owner=10001 --group=10001 --mode=700 /data
USER 10001
# The operator's port has metrics for the network of the container, and takes commands with the key in the data only.
ENV TALLY_DATA=/data TALLY_OPERATOR_ADDR=0.0.0.0:8070
EXPOSE 8070
# A new volume gets the owner and the mode of the directory.
VOLUME /data
# A check that fails in the start period does not count: meanwhile projections of an earlier release may be made anew.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 CMD ["tally", "healthcheck"]
ENTRYPOINT ["tally"]

FROM ${TALLY_RUST_IMAGE} AS source
# To compile SQLite, librdkafka and the allocator, which are written in C.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ make libc6-dev perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .

# What cargo downloads and compiles is kept in caches for the next build, beside the image. They have names, because without one every
# project with the same paths would use the same caches.
FROM source AS tally-build
RUN --mount=type=cache,id=tally-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=tally-target,target=/src/target,sharing=locked \
    cargo build --release --locked --bin tally && install -D -t /programs target/release/tally

FROM source AS servers-build
RUN --mount=type=cache,id=tally-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=tally-target,target=/src/target,sharing=locked \
    cargo build --release --locked --bins -p command-api -p projector -p query-api \
    && install -D -t /programs target/release/command-api target/release/projector target/release/query-api

FROM tally-base AS tally
COPY --from=tally-build /programs/ /usr/local/bin/

FROM base AS servers
COPY --from=servers-build /programs/ /usr/local/bin/

FROM tally-base AS tally-prebuilt
COPY target/prebuilt/tally /usr/local/bin/

FROM base AS servers-prebuilt
COPY target/prebuilt/command-api target/prebuilt/projector target/prebuilt/query-api /usr/local/bin/
