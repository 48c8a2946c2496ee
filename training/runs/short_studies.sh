#!/bin/sh
# The short studies of docs/experiments-lab.md as they were run on 2026-11-22, on a few per cent of one core: what width
# buys, what identity labels add, what one triplet loss does, what a harmonic embedding costs.
# Run at the top of the checkout; RUNS is a folder outside it. About 15 minutes of one undisturbed core.
set -eu
RUNS=${1:?folder of the runs}
DATA=${2:-../shared/data}
PYTHON=${PYTHON:-python}
CACHE=${CACHE:-$HOME/.cache/glancein}
export PYTHONPATH=device:training:convert OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
. training/runs/heavy.sh
train() { "$PYTHON" -m glancein_training.cli "$@" --cache "$CACHE"; }

# From nothing, 64 px, AdamW with a rate that falls from the first step: every run sees the same pictures.
short() {
    out=$1 network=$2 images=$3
    shift 3
    train distill "$RUNS/$out" --decay --no-compile --set "data=$DATA" --set 'packs=["faces"]' --set threads=1 \
        --set "network=$network-64px" --set train_px=64 --set batch=32 --set optimiser=adamw --set rate=0.003 \
        --set warm_up_images=640 --set "decay_images=$images" --set average_decay=0.98 --set seed=7 \
        --set augment.rotate_deg=7 --set augment.scale=0.07 --set augment.shift_px=3 --set augment.low_resolution=0.1 \
        --set augment.blur=0.05 --set augment.noise=0.1 --set augment.jpeg=0 --set augment.occlude=0.05 \
        --set augment.exposure=0.25 --set augment.print_and_scan=0 "$@"
}

for network in glance-33 glance-116 glance-158; do
    short "width-$network" "$network" 6400
done
"$PYTHON" -m glancein_training.cli networks --no-measure --plot "$RUNS/widths.svg" --run "$RUNS/width-glance-33" \
    --run "$RUNS/width-glance-116" --run "$RUNS/width-glance-158"

for weight in 0.0 0.02 0.1; do
    short "identity-$weight" glance-33 12800 --set "identity_weight=$weight"
done

train train "$RUNS/triplet" --set "data=$DATA/faces" --set network=glance-33-64px --set train_px=64 --set threads=1 \
    --set "start=$RUNS/identity-0.0/checkpoint.pt" --set loss=triplet --set mining=semi-hard --set rate=0.0003 \
    --set warm_up_steps=10 --set steps=80 --set note_every_steps=40 --set average_decay=0.95 \
    $HEAVY

# The other runs go on where they stopped, these take minutes and are there or not.
fit() {
    out=$1
    shift
    [ -e "$RUNS/harmonic-$out/checkpoint.pt" ] || train harmonic "$RUNS/harmonic-$out" --set "data=$DATA/faces" --set "old=$DATA/faces/teacher_b.npz" "$@"
}
fit as-is --set begin=as-is --set steps=0
fit turned --set steps=0
fit all --set steps=150
fit random-triplets --set begin=random --set old_weight=0 --set keep_weight=0 --set rate=0.003 --set steps=300
fit triplets --set old_weight=0 --set keep_weight=0 --set steps=150
fit cosine --set triplet_weight=0 --set keep_weight=0 --set steps=150
