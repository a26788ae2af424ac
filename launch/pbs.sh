#!/bin/bash
# Train as a PBS job (OpenPBS, PBS Pro). Options are in a variable, because qsub cannot pass arguments to a script:
#     qsub -N lenet5-a -v OPTIONS="--data mnist.h5 --epochs 20" launch/pbs.sh
# Two minutes before the time limit, training saves, and the job submits itself again, until training is done.
# A job with the same name continues from the newest checkpoint. qdel ends the job and does not submit it again.

#PBS -N distcnn
#PBS -l select=1:ncpus=8:mpiprocs=8    # ranks, one per core; at most batch size / 16 in total
#PBS -l walltime=01:00:00              # at least five minutes
#PBS -r y
#PBS -j oe

cd "$PBS_O_WORKDIR" || exit 2
SCRIPT=launch/pbs.sh                 # this file, relative to the folder in which you call qsub
VENV=${VENV:-.venv}                  # the virtual environment with distcnn and MPI
OUT=${OUT:-runs/$PBS_JOBNAME}        # the run's folder

. "$VENV/bin/activate" || exit 2

# Words are split as by a shell, in quotes if they hold spaces; nothing in them is expanded
mapfile -d '' -t options < <(xargs -r printf '%s\0' <<<"${OPTIONS-}")
wait $! || exit 2

# PBS sends no signal before it kills a job, so `timeout` sends one; 0: never
seconds=$(qstat -f "$PBS_JOBID" | awk '/Resource_List.walltime/ {
    split($3, t, ":"); left = t[1] * 3600 + t[2] * 60 + t[3] - 120; if (left > 0) print left }')

trap 'asked=yes; kill -USR1 $job' USR1    # mpirun forwards it to all ranks, which save and exit with 75
timeout --foreground --preserve-status --signal=USR1 "${seconds:-0}" \
    mpirun --hostfile "$PBS_NODEFILE" -n "$(wc -l <"$PBS_NODEFILE")" \
    python -m distcnn.train --out "$OUT" --resume auto "${options[@]}" &
job=$!
wait $job; code=$?
while [ "$asked" ]; do asked=; wait $job; code=$?; done    # a trap ends `wait` too early

# qrerun would be simpler, but only operators may use it.
[ $code = 75 ] && qsub -N "$PBS_JOBNAME" -W depend=afterany:"$PBS_JOBID" -v OPTIONS "$SCRIPT"
exit $code    # 0 done, 2 an error of the user, 3 diverged
