#!/bin/sh
# What identity labels add to an embedder that is nearly done: the kept weights go on for IMAGES pictures with a falling rate, the
# same pictures in the same order, with and without the margin softmax. Run at the top of the checkout; RUNS is a folder
# outside it. Judged by `glancein-train compare` on the even development people.
set -eu
RUNS=${1:?folder of the runs}
DATA=${2:-../shared/data}
IMAGES=${IMAGES:-51200}
PYTHON=${PYTHON:-python}
START=${START:-training/weights/embedder.pt}
export PYTHONPATH=device:training OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
. training/runs/continued.sh

for weight in 0.0 0.02; do
    continued "$RUNS/identity-$weight" glance-249 --set "identity_weight=$weight" --set rate=0.0015
    "$PYTHON" -m glancein_training.cli embed "$RUNS/identity-$weight/checkpoint.pt" "$DATA/faces" --split val \
        --out "$RUNS/identity-$weight.npz"
done
"$PYTHON" -m glancein_training.cli compare "$RUNS/identity-0.0.npz" "$RUNS/identity-0.02.npz" \
    --labels "$DATA/faces/labels.csv" --split val --half even --gallery 200
