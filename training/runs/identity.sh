#!/bin/sh
# What identity labels add to an embedder that is nearly done: the kept weights go on for IMAGES pictures with a falling rate, the
# same pictures in the same order: as they were trained, with the margin softmax beside the teachers, and with targets
# halfway to what the person's other pictures say. Run at the top of the checkout; RUNS is a folder outside it.
# Judged by `glancein-train compare` on the even development people.
set -eu
RUNS=${1:?folder of the runs}
DATA=${2:-../shared/data}
IMAGES=${IMAGES:-51200}
PYTHON=${PYTHON:-python}
START=${START:-training/weights/embedder.pt}
export PYTHONPATH=device:training OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
. training/runs/continued.sh

judge() {
    "$PYTHON" -m glancein_training.cli embed "$RUNS/$1/checkpoint.pt" "$DATA/faces" --split val --out "$RUNS/$1.npz"
}
continued "$RUNS/plain" glance-249
judge plain
continued "$RUNS/softmax" glance-249 --set identity_weight=0.02
judge softmax
continued "$RUNS/people" glance-249 --set to_people=0.5
judge people
"$PYTHON" -m glancein_training.cli compare "$RUNS/plain.npz" "$RUNS/softmax.npz" "$RUNS/people.npz" \
    --labels "$DATA/faces/labels.csv" --split val --half even --gallery 200
