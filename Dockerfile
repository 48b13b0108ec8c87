# Images of the agent and the gateway; the last stage, the agent, is the default.
#   docker build -t kantaloupe-agent .
#   docker build -t kantaloupe-gateway --target gateway .
# Binaries built outside (in dist/) and another base, as the tests do it:
#   docker build --build-arg BINARIES=prebuilt --build-arg RUNTIME_IMAGE=... .
ARG BINARIES=build
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
# glibc, libgcc, CA certificates and a user without rights; no shell.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# The caches make a second build as quick as on a workstation; the binaries are copied out, since caches are not part of the layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/usr/local/cargo/git \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package kantaloupe-agent --package kantaloupe-gateway \
    && mkdir /dist && cp target/release/kantaloupe-agent target/release/kantaloupe-gateway /dist/

FROM scratch AS prebuilt
COPY dist/ /dist/

FROM ${BINARIES} AS binaries

FROM ${RUNTIME_IMAGE} AS gateway
COPY --from=binaries /dist/kantaloupe-gateway /usr/local/bin/kantaloupe-gateway
ENV PATH=/usr/local/bin:/usr/bin:/bin
# By number: Kubernetes' runAsNonRoot does not look names up.
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["/usr/local/bin/kantaloupe-gateway"]
CMD ["serve"]

FROM ${RUNTIME_IMAGE} AS agent
COPY --from=binaries /dist/kantaloupe-agent /usr/local/bin/kantaloupe-agent
ENV PATH=/usr/local/bin:/usr/bin:/bin
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["/usr/local/bin/kantaloupe-agent"]
CMD ["run", "--config=/etc/kantaloupe/agent.yaml"]
