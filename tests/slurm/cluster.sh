#!/usr/bin/env bash
# A Slurm of two nodes, n1 and n2, on this machine, in a folder of its own, without
# touching any configuration of the system.
#
#   cluster.sh start DIR    prints nothing; DIR/slurm.conf is the configuration
#   cluster.sh stop DIR
#   cluster.sh revive DIR   starts the daemon of n2 again and lets jobs run there
#
# Needs slurmctld, slurmd and munged (Debian: slurm-wlm, munge) and root, because slurmd
# starts jobs as their users.
set -euo pipefail

command=$1
dir=$(mkdir -p "$2" && cd "$2" && pwd)
host=$(hostname -s)

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
    mkdir -p "$dir"/{state,spool,munge}
    chmod 700 "$dir/munge"
    dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 status=none
    chmod 600 "$dir/munge/key"
    munged --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" \
        --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"

    cat >"$dir/slurm.conf" <<EOF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=4 RealMemory=4096
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=4 RealMemory=4096
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
SlurmdTimeout=10
KillWait=5
SchedulerParameters=bf_interval=1,sched_interval=2
EOF
    export SLURM_CONF=$dir/slurm.conf
    slurmctld -i
    slurmd -N n1
    slurmd -N n2
    wait_for 2
}

wait_for() {
    for _ in $(seq 120); do
        [ "$(sinfo -h -N -o %t 2>/dev/null | grep -cE '^(idle|mix|alloc)$')" -ge "$1" ] && return 0
        [ "$command" = start ] || scontrol update NodeName=n2 State=RESUME 2>/dev/null || true
        sleep 0.5
    done
    echo "slurmd did not come up; see the logs in $dir" >&2
    sinfo -N -l >&2
    tail -n 5 "$dir"/slurm*.log >&2
    return 1
}

revive() {
    export SLURM_CONF=$dir/slurm.conf
    slurmd -N n2
    wait_for 2
}

stop() {
    # A job whose daemon is gone would stay behind: cancel first, then wait for it.
    export SLURM_CONF=$dir/slurm.conf
    local name
    scancel --full --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 20); do
        [ -n "$(squeue --noheader 2>/dev/null)" ] || break
        sleep 0.5
    done
    for name in slurmd-n1 slurmd-n2 slurmctld munge/pid; do
        local file=$dir/${name%.pid}
        [ "$name" = munge/pid ] || file=$dir/$name.pid
        [ -s "$file" ] || continue
        kill "$(cat "$file")" 2>/dev/null || continue
        for _ in $(seq 50); do
            kill -0 "$(cat "$file" 2>/dev/null)" 2>/dev/null || break
            sleep 0.1
        done
    done
}

"$command"
