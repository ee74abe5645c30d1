# Sourced by dist_train.sh and dist_test.sh.

torchrun_with() {
    local processes=$1
    shift
    local nodes=${NNODES:-1} port=${PORT:-}
    local where=(--nnodes "$nodes" --node-rank "${NODE_RANK:-0}")
    if [ "$nodes" -eq 1 ] && [ -z "$port" ]; then
        # A free port, so that several jobs share a machine.
        where=(--standalone --nnodes 1)
    else
        where+=(--master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${port:-29500}")
    fi
    # Waiting threads that spin slow the processes beside them.
    export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
    PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" \
        exec "${PYTHON:-python}" "$tools/dist_run.py" \
        "${where[@]}" --nproc-per-node "$processes" "$@"
}
