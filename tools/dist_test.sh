#!/usr/bin/env bash
# Evaluate on many processes with torchrun:
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options]
#
# The figures are those of one process. Several nodes and processes without a GPU:
# as in tools/dist_train.sh. The options are those of tools/test.py.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES [options of tools/test.py]" >&2
    exit 2
fi
printf -v MMGCP_COMMAND '%q ' "$0" "$@"
export MMGCP_COMMAND
config=$1
checkpoint=$2
processes=$3
shift 3

tools=$(cd "$(dirname "$0")" && pwd)
source "$tools/dist_common.sh"
torchrun_with "$processes" "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
