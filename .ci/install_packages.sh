#!/usr/bin/env bash
# Slurm and a browser, for the tests that look for them and skip without them.
set -euo pipefail
missing=
for program in slurmctld slurmd munged chromium; do
    command -v "$program" >/dev/null || missing+=" $program"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Not installed, and this user cannot install it:$missing. Some tests will skip."
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends slurm-wlm munge chromium
