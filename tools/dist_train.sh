#!/usr/bin/env bash
# Train on many processes with torchrun: tools/dist_train.sh CONFIG PROCESSES [options]
#
# PROCESSES is per node, usually the number of GPUs; without a GPU the processes
# form a gloo group on the CPU. Several nodes: start it on each with
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host-of-rank-0 PORT=29500 tools/dist_train.sh ...
# The options are those of tools/train.py.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
printf -v MMGCP_COMMAND '%q ' "$0" "$@"
case " $* " in *' --resume '*) ;; *) MMGCP_COMMAND+=--resume ;; esac
export MMGCP_COMMAND
config=$1
processes=$2
shift 2

tools=$(cd "$(dirname "$0")" && pwd)
source "$tools/dist_common.sh"
torchrun_with "$processes" "$tools/train.py" "$config" --launcher pytorch "$@"
