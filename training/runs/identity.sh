#!/bin/sh
# What identity labels add to distillation, and with which margin: five short runs that differ in nothing else.
# Run at the top of the checkout; RUNS is a folder outside it. MINUTES for each, then a decay of a quarter of them.
# Judged by `glancein-train compare` on the even development people; report the winner on the odd ones.
set -eu
RUNS=${1:?folder of the runs}
DATA=${2:-../shared/data}
export PYTHONPATH=device:training OMP_WAIT_POLICY=PASSIVE
MINUTES=${MINUTES:-20}

one() {
    name=$1
    shift
    set -- --set network=glance-33 --set train_px=80 --set "data=$DATA" --set decay_images=60000 "$@"
    python -m glancein_training.cli distill "$RUNS/$name" "$@" --minutes "$MINUTES"
    python -m glancein_training.cli distill "$RUNS/$name" "$@" --decay
    python -m glancein_training.cli embed "$RUNS/$name/checkpoint.pt" "$DATA/faces" --split val --out "$RUNS/$name/val.npz"
}

one plain
one weight-0.02 --set identity_weight=0.02
one weight-0.1 --set identity_weight=0.1
one weight-0.1-margin-0 --set identity_weight=0.1 --set identity_margin=0.0
one weight-0.1-margin-0.35 --set identity_weight=0.1 --set identity_margin=0.35
python -m glancein_training.cli compare "$RUNS"/plain/val.npz "$RUNS"/weight-*/val.npz \
    --labels "$DATA/faces/labels.csv" --split val --half even --gallery 200
