#!/bin/bash
# Train on this machine:    launch/local.sh --data mnist.h5 --epochs 20
# If it is started again, training continues from the newest checkpoint. Ctrl-C saves and stops; a second one kills.

VENV=${VENV:-.venv}                               # the virtual environment with distcnn and MPI
cores=$(nproc)
RANKS=${RANKS:-$((cores < 8 ? cores : 8))}        # one per core, up to batch size / 16
OUT=${OUT:-runs/local}                            # the run's folder
RESTART=${RESTART:-no}                            # yes: when training was stopped by USR1, start it again

. "$VENV/bin/activate" || exit 2

train() {
    mpirun -n "$RANKS" python -m distcnn.train --out "$OUT" --resume auto "$@" </dev/null &
    job=$!
    wait $job; code=$?
    while [ "$asked" ]; do asked=; wait $job; code=$?; done    # a trap ends `wait` too early
}

set -m                                            # so that Ctrl-C reaches only this script
stop=USR1                                         # mpirun forwards it to all ranks, which save and exit with 75
trap 'asked=yes; kill -USR1 $job' USR1
trap 'asked=yes; RESTART=no; kill -$stop $job; stop=TERM' INT TERM HUP

train "$@"
while [ $code = 75 ] && [ "$RESTART" = yes ]; do train "$@"; done
exit $code    # 0 done, 2 an error of the user, 3 diverged, 75 stopped after saving: start it again
