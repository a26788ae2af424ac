#!/bin/bash
# Train as a PBS job (OpenPBS, PBS Pro); options go into a variable, as qsub gives a script no arguments:
#     qsub -N lenet5-a -v OPTIONS="--data mnist.h5 --epochs 20" launch/pbs.sh
# Two minutes before the time limit training saves, and the job submits its successor, until training is done.
# Submitted again under its name it goes on from the newest checkpoint. qdel ends it for good.

#PBS -N distcnn
#PBS -l select=1:ncpus=8:mpiprocs=8    # ranks, one a core; in all no more than batch size / 16
#PBS -l walltime=01:00:00              # at least five minutes
#PBS -r y
#PBS -j oe

cd "$PBS_O_WORKDIR" || exit 2
SCRIPT=launch/pbs.sh                 # this file, as seen from where you call qsub, to submit it again
VENV=${VENV:-.venv}                  # the virtual environment
OUT=${OUT:-runs/$PBS_JOBNAME}        # the run's folder

. "$VENV/bin/activate" || exit 2

# PBS sends no signal before it kills, so `timeout` must; 0: never
seconds=$(qstat -f "$PBS_JOBID" | awk '/Resource_List.walltime/ {
    split($3, t, ":"); left = t[1] * 3600 + t[2] * 60 + t[3] - 120; if (left > 0) print left }')

trap 'asked=yes; kill -USR1 $job' USR1    # mpirun forwards it to all ranks: they save and exit with 75
timeout --foreground --preserve-status --signal=USR1 "${seconds:-0}" \
    mpirun --hostfile "$PBS_NODEFILE" -n "$(wc -l <"$PBS_NODEFILE")" \
    python -m distcnn.train --out "$OUT" --resume auto $OPTIONS &
job=$!
wait $job; code=$?
while [ "$asked" ]; do asked=; wait $job; code=$?; done    # a trap ends `wait` too early

# not qrerun, which is for operators
[ $code = 75 ] && qsub -N "$PBS_JOBNAME" -W depend=afterany:"$PBS_JOBID" -v OPTIONS "$SCRIPT"
exit $code    # 0 done, 2 your mistake, 3 diverged
