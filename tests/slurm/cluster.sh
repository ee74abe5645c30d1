#!/usr/bin/env bash
# A Slurm of one node on this machine, in a folder of its own, without touching any
# configuration of the system.
#
#   cluster.sh start DIR    prints nothing; DIR/slurm.conf is the configuration
#   cluster.sh stop DIR
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
SlurmdPort=$(port)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=1024 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 State=UP
EOF
    export SLURM_CONF=$dir/slurm.conf
    slurmctld -i
    slurmd
    for _ in $(seq 60); do
        sinfo -h -o %T 2>/dev/null | grep -q idle && return 0
        sleep 0.5
    done
    echo "slurmd did not come up; see $dir/slurmd.log and $dir/slurmctld.log" >&2
    tail -n 5 "$dir"/slurm*.log >&2
    return 1
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
    for name in slurmd slurmctld munge/pid; do
        local file=$dir/${name%.pid}
        [ "$name" = munge/pid ] || file=$dir/$name.pid
        [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
}

"$command"
