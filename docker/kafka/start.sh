#!/bin/sh
# Gives an empty volume to the broker, once, and starts it.
set -eu

/opt/kafka/bin/kafka-storage.sh format --ignore-formatted \
    --cluster-id "$CLUSTER_ID" --config /etc/kafka/bridge/server.properties
exec /opt/kafka/bin/kafka-server-start.sh /etc/kafka/bridge/server.properties
