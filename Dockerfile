# One image with the three programs of the distributed topology.
#
#   runtime   built from source here
#   prebuilt  with the programs that scripts/prebuilt copied to target/prebuilt
ARG TALLY_RUST_IMAGE=rust:1.95-slim-bookworm
ARG TALLY_RUNTIME_IMAGE=debian:bookworm-slim

FROM ${TALLY_RUNTIME_IMAGE} AS base
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tally
USER 10001
ENV TALLY_WRITE_ADDR=0.0.0.0:8080 TALLY_READ_ADDR=0.0.0.0:3000
EXPOSE 8080 3000

FROM ${TALLY_RUST_IMAGE} AS build
# To compile librdkafka, which is written in C.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ make libc6-dev perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bins -p command-api -p projector -p query-api \
    && mkdir /programs && cp target/release/command-api target/release/projector target/release/query-api /programs/

FROM base AS runtime
COPY --from=build /programs/ /usr/local/bin/

FROM base AS prebuilt
COPY target/prebuilt/ /usr/local/bin/
