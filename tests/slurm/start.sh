#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, for the tests of this folder; needs root, as slurmd does.
#   tests/slurm/start.sh [--install] [words for pytest]
# --install fetches Debian's packages first. Everything else stays in a temporary folder and ends with the script.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --install ]; then
    shift
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
fi
PATH=$PATH:/usr/sbin
for name in munged slurmctld slurmd sinfo; do
    command -v "$name" > /dev/null || { echo "$name is not installed: run $0 --install" >&2; exit 2; }
done

folder=$(mktemp -d)
chmod 755 "$folder"
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
    if [ "${KEEP:-}" ]; then echo "kept $folder"; else rm -rf "$folder"; fi
}
trap stop EXIT

host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf
mkdir "$folder/state" "$folder/spool"
# No cgroups, no accounting: what the tests need runs in containers and virtual machines too.
cat > "$SLURM_CONF" << CONF
ClusterName=xfeat
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=36817
SlurmdPort=36818
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

# munged asks that nobody else can write to the folder of its socket.
head -c 128 /dev/urandom > "$folder/munge.key"
chmod 600 "$folder/munge.key"
munged --foreground --force --key-file "$folder/munge.key" --socket "$folder/munge.socket" \
    --pid-file "$folder/munge.pid" --log-file "$folder/munge.log" --seed-file "$folder/munge.seed" \
    > "$folder/munged.out" 2>&1 &
pids+=($!)
slurmctld -D > "$folder/slurmctld.out" 2>&1 &
pids+=($!)
slurmd -D -N "$host" > "$folder/slurmd.out" 2>&1 &
pids+=($!)

for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format=%t 2> /dev/null)" = idle ]; then ready=yes; break; fi
    sleep 0.5
done
if [ -z "${ready:-}" ]; then
    echo "SLURM did not come up:" >&2
    tail -n 5 "$folder"/*.log "$folder"/*.out >&2
    exit 1
fi
sinfo
"${PYTHON:-python3}" -m pytest -n 0 -m slurm tests/slurm "$@"
