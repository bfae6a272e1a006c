# rekey in a container. Its working folder holds rekey.yaml: docker run -v "$PWD":/etc/rekey:ro rekey check

FROM node:20-alpine AS build
WORKDIR /build
COPY package.json package-lock.json ./
# The workspace has the Postgres servers of the tests, which no image needs.
RUN npm ci --workspaces=false --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
COPY connectors connectors
RUN npm run build

FROM node:20-alpine AS packages
WORKDIR /packages
COPY package.json package-lock.json ./
RUN npm ci --workspaces=false --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:20-alpine
ENV NODE_ENV=production
WORKDIR /opt/rekey
COPY package.json LICENSE ./
COPY schema schema
COPY mappings mappings
COPY --from=packages /packages/node_modules node_modules
COPY --from=build /build/dist dist
USER node
WORKDIR /etc/rekey
ENTRYPOINT ["node", "/opt/rekey/dist/src/cli/main.js"]
CMD ["--help"]
