#!/bin/sh
# IngestService with grpcurl (https://github.com/fullstorydev/grpcurl): the server describes itself by reflection, no file is needed.
# usage: ingest-grpcurl.sh [host:port]
set -eu
SERVER=${1:-127.0.0.1:4317}
SERVICE=thermocline.ingest.v1.IngestService

# A table of our own. It could be left out: the first rows make it.
grpcurl -plaintext -d @ "$SERVER" $SERVICE/RegisterTable <<'JSON'
{
  "table": "readings",
  "columns": [
    { "name": "time", "type": "timestamp" },
    { "name": "value", "type": "double" },
    { "name": "labels", "type": "jsonb" }
  ]
}
JSON

# Rows by name. Sent again with the same key they are stored once.
grpcurl -plaintext -d @ "$SERVER" $SERVICE/Write <<'JSON'
{
  "table": "readings",
  "idempotency_key": "example-1",
  "ack_level": "ACK_LEVEL_HOT",
  "rows": {
    "rows": [
      {
        "fields": {
          "time": { "timestamp_value": "2026-01-02T03:04:05.123456789Z" },
          "value": { "double_value": 21.5 },
          "labels": { "map_value": { "entries": { "room": { "string_value": "attic" } } } }
        }
      }
    ]
  }
}
JSON

# The same by column: one array of values for each.
grpcurl -plaintext -d @ "$SERVER" $SERVICE/Write <<'JSON'
{
  "table": "readings",
  "columns": {
    "columns": [
      { "name": "value", "doubles": { "values": [20.5, 21.0, 21.25] } },
      { "name": "labels", "jsons": { "values": ["{}", "{\"room\":\"hall\"}", "{}"] } }
    ]
  }
}
JSON

grpcurl -plaintext -d '{"table":"readings"}' "$SERVER" $SERVICE/GetTable
