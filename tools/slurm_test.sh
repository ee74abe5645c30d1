#!/usr/bin/env bash
# Evaluate on a Slurm cluster:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options]
#
# By environment: as in tools/slurm_train.sh. The options are those of tools/test.py.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]" >&2
    exit 2
fi
partition=$1
job=$2
config=$3
checkpoint=$4
shift 4

tools=$(cd "$(dirname "$0")" && pwd)
source "$tools/slurm_common.sh"
srun_with "$partition" "$job" "$tools/test.py" "$config" "$checkpoint" --launcher slurm "$@"
