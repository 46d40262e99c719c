# syntax=docker/dockerfile:1
#
# docker build -t portcullis .
# docker run --rm -p 8080:8080 -v "$PWD/portcullis.yaml:/etc/portcullis/portcullis.yaml:ro" portcullis

FROM rust:1-bookworm AS build
# cmake builds the zlib-ng that Pingora compresses with; the image already has a C compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package portcullis \
    && install -D -m 0755 target/release/portcullis /image/usr/local/bin/portcullis \
    && install -d -m 0755 /image/etc/portcullis \
    && install -d -m 0700 /image/var/lib/portcullis

# Only the C library and root certificates: no shell, no package manager, no root.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="An edge gateway whose security policy is provably enforced" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/portcullis-gateway/portcullis" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/usr/local/bin/portcullis /usr/local/bin/portcullis
COPY --from=build --chown=65532:65532 /image/etc/portcullis /etc/portcullis
# The version floor of the policy lives here. Mount something that survives the container.
COPY --from=build --chown=65532:65532 /image/var/lib/portcullis /var/lib/portcullis
VOLUME ["/var/lib/portcullis"]
USER 65532:65532
EXPOSE 8080 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["run", "--config", "/etc/portcullis/portcullis.yaml"]
