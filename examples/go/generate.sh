#!/bin/sh
# Makes the packages writeapi and readapi here, from the documents of a Tally that runs.
set -eu
cd "$(dirname "$0")"
for port in "write ${WRITE_URL:-http://127.0.0.1:8080}" "read ${READ_URL:-http://127.0.0.1:3000}"; do
    package=${port%% *}api
    mkdir -p "$package"
    go tool oapi-codegen -package "$package" -generate client,types -o "$package/$package.go" "${port#* }/openapi.json"
done
