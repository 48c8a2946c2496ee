#!/bin/sh
# What each loss adds to a distilled network when it is trained on from identities alone.
# Run at the top of the checkout: START is the checkpoint.pt of a distillation, RUNS a folder outside the checkout.
set -eu
START=${1:?checkpoint.pt to start from}
RUNS=${2:?folder of the runs}
DATA=${3:-../shared/data}
NETWORK=${NETWORK:-} # empty: that of START
export PYTHONPATH=device:training OMP_WAIT_POLICY=PASSIVE
. training/runs/heavy.sh

for loss in triplet batch-hard-soft quadruplet cosface arcface adaface; do
    MINING= # only the triplet loss mines
    [ "$loss" != triplet ] || MINING="--set mining=curriculum"
    python -m glancein_training.cli train "$RUNS/$loss" --set "network=$NETWORK" --set "start=$START" \
        --set "data=$DATA/faces" --set "loss=$loss" $MINING --set rate=0.0002 --set steps=2000 \
        $HEAVY
    python -m glancein_training.cli embed "$RUNS/$loss/checkpoint.pt" "$DATA/faces" --split val --out "$RUNS/$loss.npz"
done
python -m glancein_training.cli embed "$START" "$DATA/faces" --split val --out "$RUNS/start.npz"
python -m glancein_training.cli compare "$RUNS"/start.npz "$RUNS"/[!s]*.npz \
    --labels "$DATA/faces/labels.csv" --split val --half even --gallery 200
