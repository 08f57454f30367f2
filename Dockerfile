# The image of persat-bridge: one static binary in an empty file system.
# Every step is one that Docker has known for years: it builds with BuildKit and
# without, and needs the network for the two images and the modules only.

FROM golang:1.26.8 AS build
WORKDIR /src
# The modules on their own: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION="" COMMIT=unknown
# There is no repository in here that Go could read the commit from. The directories
# are for volumes: a new one takes owner and mode from what it covers.
RUN export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" \
 && go build -ldflags "-s -w -X main.version=${VERSION} -X main.builtFrom=${COMMIT}" -o /image/persat-bridge ./cmd/persat-bridge \
 && go build -ldflags "-s -w" -o /image/setup ./cmd/persat-bridge/deploy/setup \
 && mkdir -p /image/data /image/tmp && chmod 0700 /image/data && chmod 1777 /image/tmp

FROM scratch
# For nats.url with tls:// or wss://, and for sources that name a time zone.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /usr/share/zoneinfo.zip
ENV ZONEINFO=/usr/share/zoneinfo.zip
COPY --from=build --chown=65532:65532 /image/ /

ARG VERSION="" COMMIT=unknown
LABEL org.opencontainers.image.title="persat-bridge" \
      org.opencontainers.image.description="Persat's webhooks, durable, to NATS JetStream" \
      org.opencontainers.image.source="https://github.com/persat-bridge/persat-bridge" \
      org.opencontainers.image.documentation="https://github.com/persat-bridge/persat-bridge#readme" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"

# Nobody in particular: there is no /etc/passwd to name it in.
USER 65532:65532
# The working directory is /: ./data of the configuration is the volume, and
# ./config.yaml is read where one is mounted.
VOLUME /data
EXPOSE 8080
# It starts by reading its journal, which may be large.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/persat-bridge", "healthcheck"]
ENTRYPOINT ["/persat-bridge"]
CMD ["serve"]
