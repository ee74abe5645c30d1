# Sourced by slurm_train.sh and slurm_test.sh.

srun_with() {
    local partition=$1 job=$2
    shift 2
    local gpus=${GPUS:-8}
    local tasks=${TASKS:-$((gpus > 0 ? gpus : 1))}
    local gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    local resources=(--ntasks="$tasks" --cpus-per-task="${CPUS_PER_TASK:-4}")
    if [ "$gpus" -gt 0 ]; then
        resources+=(--gres="gpu:$gpus_per_node" --ntasks-per-node="$gpus_per_node")
    fi
    export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
    # A task that fails ends the others at once instead of leaving them waiting.
    # shellcheck disable=SC2086  # SRUN_ARGS is a list of words
    exec srun -p "$partition" --job-name="$job" "${resources[@]}" \
        --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$@"
}
