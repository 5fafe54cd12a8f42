#!/usr/bin/env bash
# migrate.sh PACKAGES VERSION, with DATABASE_URL in the environment
exec env PACKAGES="$1" PGBOSS_VERSION="$2" node "$(dirname "$0")/migrate.mjs"
