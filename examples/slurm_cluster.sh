#!/usr/bin/env bash
# A SLURM cluster of two nodes on one machine, to try the commands of docs/scaling.md without a cluster.
#
#     apt-get install slurm-wlm
#     eval "$(examples/slurm_cluster.sh start DIR)"     # prints an export: which cluster sinfo, srun and sbatch ask
#     sinfo
#     examples/slurm_cluster.sh stop DIR
#
# Everything it writes lies in DIR: keys, logs, the queue. Nothing is installed or changed elsewhere. Each node says that it
# has 8 cores and 4 GPUs, whatever the machine has, so that commands for real clusters are accepted; their processes
# share the machine. PORT (17817) and the two after it are the daemons'.
set -euo pipefail

usage() {
    echo "usage: $0 start|stop DIR" >&2
    exit 2
}

pid_of() { # the process of a pid file, if it lives; a daemon that ends removes its file
    local pid
    pid=$(cat "$1" 2>/dev/null) && [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null && echo "$pid"
}

stop() {
    local name pid
    if pid_of "$dir/slurmctld.pid" >/dev/null; then # or jobs that end wait for a controller that is gone
        export SLURM_CONF=$dir/slurm.conf
        scancel --quiet --user="$(id -un)" || true
        for _ in {1..50}; do
            [[ -z $(squeue --noheader 2>/dev/null) ]] && break
            sleep 0.2
        done
    fi
    for name in slurmd.127.0.0.1 slurmd.127.0.0.2 slurmctld munged; do
        if pid=$(pid_of "$dir/$name.pid"); then
            kill "$pid" 2>/dev/null || true
            while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        fi
    done
}

start() {
    local tool user port=${PORT:-17817}
    for tool in munged slurmctld slurmd srun; do
        PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || {
            echo "$tool is missing: apt-get install slurm-wlm" >&2
            exit 1
        }
    done
    if [[ ! -e $dir/munged.key && -n $(ls -A "$dir") ]]; then
        echo "$dir must be a new folder, or that of a cluster that was started before" >&2
        exit 1
    fi
    stop
    rm -rf "$dir/state" "$dir"/spool.*
    mkdir -p "$dir/state"
    user=$(id -un)
    # A requeued job waits until its credential expires: 5 seconds here, by default two minutes.
    # The nodes are named after addresses that every machine has: the processes of a job look for the first node by name.
    cat >"$dir/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munged.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
KillWait=5
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
NodeName=127.0.0.1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=8 RealMemory=8000 Gres=gpu:4
NodeName=127.0.0.2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.2 Port=$((port + 2)) CPUs=8 RealMemory=8000 Gres=gpu:4
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    touch "$dir"/gpu{0..3} # what stands for the GPUs
    echo "Name=gpu File=$dir/gpu[0-3]" >"$dir/gres.conf"
    [[ -e $dir/munged.key ]] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munged.key")
    export SLURM_CONF=$dir/slurm.conf PATH=$PATH:/usr/sbin
    # Forced: it would refuse folders that others may write to or cannot enter, such as those in /tmp.
    munged --force --key-file="$dir/munged.key" --socket="$dir/munged.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" >&2
    slurmctld -c -f "$SLURM_CONF" >&2
    slurmd -N 127.0.0.1 -f "$SLURM_CONF" >&2
    slurmd -N 127.0.0.2 -f "$SLURM_CONF" >&2
    for _ in {1..100}; do
        if [[ $(sinfo --noheader --states=idle --format=%D 2>/dev/null) == 2 ]]; then
            echo "export SLURM_CONF='$SLURM_CONF'"
            return
        fi
        sleep 0.2
    done
    sinfo --list-reasons >&2 || true
    tail -n 5 "$dir"/*.log >&2
    stop
    echo "the nodes did not come up; the ends of their logs are above" >&2
    exit 1
}

[[ $# == 2 ]] || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $1 in start | stop) "$1" ;; *) usage ;; esac
