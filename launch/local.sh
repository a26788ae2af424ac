#!/bin/bash
# Train on this machine:    launch/local.sh --data mnist.h5 --epochs 20
# Started again, training goes on from the newest checkpoint. Ctrl-C saves and stops; a second one kills.

VENV=${VENV:-.venv}        # the virtual environment that distcnn and its MPI are in
RANKS=${RANKS:-$(nproc)}   # one a core; no more than batch size / 16
OUT=${OUT:-runs/local}     # the run's folder
RESTART=${RESTART:-no}     # yes: when a signal has stopped training, start again

. "$VENV/bin/activate" || exit 2

set -m                                              # so that Ctrl-C reaches this script alone
trap 'asked=yes; kill -USR1 $job' USR1              # mpirun hands it to all ranks: they save and exit
trap 'asked=yes; RESTART=no; kill -USR1 $job' INT TERM HUP

code=75
while [ $code = 75 ]; do
    mpirun -n "$RANKS" python -m distcnn.train --out "$OUT" --resume auto "$@" </dev/null &
    job=$!
    wait $job; code=$?
    while [ "$asked" ]; do asked=; wait $job; code=$?; done    # a trap ends `wait` too early
    [ "$RESTART" = yes ] || break
done
exit $code    # 0 done, 2 your mistake, 3 diverged, 75 stopped after saving: start it again
