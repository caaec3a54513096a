#!/bin/sh
# Makes the packages tally_write and tally_read here, from the documents of a Tally that runs.
set -eu
cd "$(dirname "$0")"
for port in "write ${WRITE_URL:-http://127.0.0.1:8080}" "read ${READ_URL:-http://127.0.0.1:3000}"; do
    document=${port#* }/openapi.json
    curl --silent --fail --output /dev/null "$document" || { echo "no Tally answers at $document" >&2; exit 1; }
    openapi-python-client generate --url "$document" --output-path "tally_${port%% *}" \
        --meta none --overwrite --fail-on-warning
done
