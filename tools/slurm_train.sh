#!/usr/bin/env bash
# Train on a Slurm cluster: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options]
#
# By environment: GPUS (8; 0 trains on CPUs), GPUS_PER_NODE (8), TASKS (GPUS, or 1),
# CPUS_PER_TASK (4), SRUN_ARGS (more arguments of srun, such as a time limit).
# The options are those of tools/train.py.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
    exit 2
fi
partition=$1
job=$2
config=$3
shift 3

tools=$(cd "$(dirname "$0")" && pwd)
source "$tools/slurm_common.sh"
srun_with "$partition" "$job" "$tools/train.py" "$config" --launcher slurm "$@"
